"""Measure openai_call: quality on labelled sentences, what a text costs beside a bare client.

    python -m benchmarks.openai_call

Quality is the local model's. Costs are this process's own work against a fake service on loopback
that answers at once, so that nothing is measured but the client's side.
"""

import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from shared.local_llm import local_llm
from shared.recipes import ROOT

import openai
import pandas as pd

from benchmarks.report import Rows, publish
from recipes.openai_call import model_code

MODEL = model_code.FeedbackReader()
TEXTS = pd.DataFrame({"text": ["fine"] * 16})
EACH = [TEXTS[n : n + 1] for n in TEXTS.index]
LONG = {
    n: pd.DataFrame({"text": ["fine " * (n // 5)] * 16}) for n in (4_000, 1_000_000)
}


def quality() -> Rows:
    """The 60 labelled sentences; product and price count together, over the 20 that name them."""
    labels = pd.read_csv(ROOT / "benchmarks" / "openai_call.csv")
    named, rows = labels["price"].notna(), []
    ways: dict[str, dict[str, Any]] = {"as logged": {}}
    ways["without the two examples"] = {"PROMPT": model_code.PROMPT[:1]}
    ways["without `grounded`"] = {"grounded": lambda answer, _: answer.model_dump()}
    for way, change in ways.items():
        print(f"60 sentences, {way}", flush=True)
        with patch.multiple(model_code, LIMITS={"timeout": 600}, **change):
            got = MODEL.predict(None, labels[["text"]])
        right = got.reindex(columns=labels.columns) == labels
        counts = {
            "answered": got["error"].isna(),
            "sentiment": right["sentiment"][~named],
        }
        counts |= {"product and price": (right["product"] & right["price"])[named]}
        counts |= {"a price where there is none": got["price"].notna()[~named]}
        rows.append(
            {"way": way} | {k: f"{v.sum()} of {len(v)}" for k, v in counts.items()}
        )
    return rows


@contextmanager
def service(latency: float = 0.0) -> Iterator[None]:
    """Run the fake service in a process of its own, as the configured endpoint."""
    command = [sys.executable, str(ROOT / "tests" / "fault_server.py"), str(latency)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
        yield
        process.communicate()  # closes its input, which ends it


def costs(ways: Mapping[str, Callable[[], object]], rounds: int = 9) -> Rows:
    """Return what a way costs that is gone 16 times: median CPU time of each, memory at most.

    Every round takes each way once. Memory is what Python allocates, in one round more.
    """
    spent, rows = defaultdict[str, list[float]](list), Rows()
    for way in [*ways] * rounds:
        start = time.process_time()
        ways[way]()
        spent[way].append((time.process_time() - start) / len(TEXTS) * 1e3)
    for way, ms in spent.items():
        tracemalloc.start()
        ways[way]()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        rows.append({"16 times": way, "CPU ms each": statistics.median(ms), "MB": peak})
    return rows


def main() -> None:
    with local_llm():
        tables = {"The local model on 60 labelled sentences": quality()}
    with service(), openai.OpenAI() as kept:
        read = partial(model_code.read, row=0, text="fine")
        ways = {
            "the call alone, one client": lambda: [read(kept) for _ in TEXTS.index],
            "the call alone, a client each": lambda: [
                read(openai.OpenAI()) for _ in TEXTS.index
            ],
            "the model, a text at a time": lambda: [
                MODEL.predict(None, t) for t in EACH
            ],
            "the model, all at once": lambda: MODEL.predict(None, TEXTS),
        }
        ways |= {
            f"{n:,} characters": partial(MODEL.predict, None, t)
            for n, t in LONG.items()
        }
        tables["What a text costs"] = costs(ways)
    publish("openai_call", tables)


if __name__ == "__main__":
    main()
