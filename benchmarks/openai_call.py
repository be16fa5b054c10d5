"""Measure openai_call: quality on labelled lines, and what a text costs a client.

    python -m benchmarks.openai_call

Quality is the local model's. Costs are this process's own work against a fake service
on loopback that answers at once, so that only the client's side is measured.
"""

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shared.local_llm import local_llm
from shared.recipes import ROOT

import openai
import pandas as pd
from scipy.stats import binomtest

from benchmarks.fake_service import elsewhere
from benchmarks.report import Rows, interleave, publish
from recipes.openai_call import driver, model_code

SETTINGS = driver.SETTINGS | {"row_seconds": 3600}  # the machine may be busy
MODEL = model_code.FeedbackReader()
MODEL.load_context(SimpleNamespace(model_config=SETTINGS))
TEXTS = pd.DataFrame({"text": ["fine"] * 16})
PARTS = {  # of the labelled lines, by their column `part`
    "held out": "held out: no part in any choice",
    "read": "looked at while the prompt was changed",
    "prompt": "the prompt was written with them",
}


def share(right: pd.Series) -> str:
    """Return a count of right answers with the 95 % interval of their share."""
    test = binomtest(int(right.sum()), len(right))
    low, high = test.proportion_ci(method="wilson")
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
        bare = MODEL.predict(None, held_out[["text"]]).set_axis(held_out.index)
    ways = {"as logged": answer.loc[held_out.index], "without the two examples": bare}
    worth = [
        {"20 lines held out": way} | right_answers(said, held_out)
        for way, said in ways.items()
    ]

    priceless = answer[labels["price"].isna()]
    made_up = priceless["made_up"].fillna("").str.contains("price")
    said_null = priceless["price"].isna() & priceless["error"].isna() & ~made_up
    cases = {
        "the service made one up": made_up,
        "it said null": said_null,
        "a price came through": priceless["price"].notna(),
    }
    title = f"{len(priceless)} lines without a price"
    return {
        "Right answers of the local model, with 95 % intervals": lines,
        "What the examples are worth": worth,
        "Prices where there are none": [
            {title: case, "lines": int(rows.sum())} for case, rows in cases.items()
        ],
    }


def costs() -> Rows:
    """Return the CPU time of a text, each way."""
    each = [TEXTS[n : n + 1] for n in TEXTS.index]
    with elsewhere(), openai.OpenAI() as client:
        read = partial(model_code.read, client, MODEL.settings, 0, "fine")
        ways: dict[str, Callable[[], Any]] = {
            "the call alone, one client": lambda: [read() for _ in TEXTS.index],
            "the model, a request for each": lambda: [
                MODEL.predict(None, text) for text in each
            ],
            "the model, one request": lambda: MODEL.predict(None, TEXTS),
        }
        ms = interleave(ways, 9, time.process_time).median() * 1000 / len(TEXTS)
    return [{"16 texts": way, "CPU ms each": taken} for way, taken in ms.items()]


if __name__ == "__main__":
    with local_llm():
        tables = quality()
    publish("openai_call", tables | {"What a text costs the client": costs()})
