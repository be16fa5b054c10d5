"""Measure openai_call: quality on labelled lines, and what a text costs a client.

    python -m benchmarks.openai_call

Quality is the local model's. Costs are this process's own work against a fake service
on loopback that answers at once, so that only the client's side is measured.
"""

import time
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shared.local_llm import local_llm
from shared.recipes import ROOT

import openai
import pandas as pd

from benchmarks.fake_service import elsewhere
from benchmarks.report import Rows, interleave, publish, wilson
from recipes.openai_call import driver, model_code

SETTINGS = driver.SETTINGS | {"row_seconds": 3600}  # the machine may be busy
MODEL = model_code.FeedbackReader()
MODEL.load_context(SimpleNamespace(model_config=SETTINGS))
TEXTS = pd.DataFrame({"text": ["fine"] * 16})
EACH = [TEXTS[n : n + 1] for n in TEXTS.index]
PARTS = {  # of the labelled lines, by their column `part`
    "held out": "held out: no part in any choice",
    "read": "looked at while the prompt was changed",
    "prompt": "the prompt was written with them",
}


def share(right: pd.Series) -> str:
    """Return a count of right answers with the 95 % interval of their share."""
    low, high = wilson(right.mean(), len(right))
    return f"{right.sum()} of {len(right)} ({low * 100:.0f}-{high * 100:.0f} %)"


def right_answers(answer: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Return, for product, price and sentiment, how many labelled lines are right."""
    counts = {}
    for name in ("product", "price", "sentiment"):
        labelled = labels[name].notna()
        counts[name] = share((answer[name] == labels[name])[labelled])
    return counts


def quality() -> dict[str, Rows]:
    """Return the tables of the labelled lines, those with no part in a choice first."""
    labels = pd.read_csv(ROOT / "benchmarks" / "openai_call.csv")
    print(f"{len(labels)} lines", flush=True)
    answer = MODEL.predict(None, labels[["text"]])
    lines = []
    for part, title in PARTS.items():
        chosen = labels["part"] == part
        lines.append({"lines": title} | right_answers(answer[chosen], labels[chosen]))

    held_out = labels[labels["part"] == "held out"]
    with patch.object(model_code, "EXAMPLES", []):
        bare = MODEL.predict(None, held_out[["text"]])
    worth = [
        {"20 lines held out": "as logged"}
        | right_answers(answer.loc[held_out.index], held_out),
        {"20 lines held out": "without the two examples"}
        | right_answers(bare.set_axis(held_out.index), held_out),
    ]

    no_price = labels["price"].isna()
    has_made_up = answer["made_up"].fillna("").str.contains("price")[no_price]
    said_null = (answer["price"].isna() & answer["error"].isna())[no_price]
    cases = {
        "the service made one up": has_made_up,
        "it said null": said_null & ~has_made_up,
        "a price came through": answer["price"].notna()[no_price],
    }
    title = f"{no_price.sum()} lines without a price"
    priceless = [
        {title: case, "lines": int(rows.sum())} for case, rows in cases.items()
    ]
    return {
        "Right answers of the local model, with 95 % intervals": lines,
        "What the examples are worth": worth,
        "Prices where there are none": priceless,
    }


def costs(ways: Mapping[str, Callable[[], object]], rounds: int = 9) -> Rows:
    """Return what 16 texts cost each way: median CPU time of a text, most memory."""
    seconds = interleave(ways, rounds, time.process_time)
    return [
        {
            "16 texts": way,
            "CPU ms each": 1000 * taken / len(TEXTS),
            "MB": memory(ways[way]),
        }
        for way, taken in seconds.items()
    ]


def memory(work: Callable[[], object]) -> float:
    """Return the most memory that Python allocates during the work, in MB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def main() -> None:
    with local_llm():
        tables = quality()
    with elsewhere(), openai.OpenAI() as kept:
        settings = MODEL.settings
        read = partial(model_code.read, settings=settings, label=0, text="fine")
        ways: dict[str, Callable[[], Any]] = {
            "the call alone, one client": lambda: [read(kept) for _ in TEXTS.index],
            "the model, a request for each": lambda: [
                MODEL.predict(None, text) for text in EACH
            ],
            "the model, one request": lambda: MODEL.predict(None, TEXTS),
        }
        tables["What a text costs the client"] = costs(ways)
        bomb = pd.DataFrame({"text": ["[gzip bomb] x"]})
        peak = memory(lambda: MODEL.predict(None, bomb))
        reply = "100 kB of gzip that unpack to 100 MB"
        tables["What one reply can take"] = [{"reply": reply, "MB": peak}]
    publish("openai_call", tables)


if __name__ == "__main__":
    main()
