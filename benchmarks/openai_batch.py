"""Measure openai_batch: how rows share the waiting, what a text costs beside the lesson.

    python -m benchmarks.openai_batch

Times are taken against a fake service on loopback, so that nothing is measured but the client's
side.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import openai
import pandas as pd

from benchmarks.openai_call import MODEL as LESSON
from benchmarks.openai_call import bare, compared, service
from benchmarks.report import interleave, publish

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "openai_batch"
sys.path.insert(0, str(RECIPE))  # where model_code.py finds its package, as in a loaded model

from recipes.openai_batch import model_code  # noqa: E402


def reader(concurrency: int) -> model_code.FeedbackReader:
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config={"concurrency": concurrency}))
    return model


def main() -> None:
    one, many = (pd.DataFrame({"text": ["fine"] * n}) for n in (1, 64))
    with service():
        rows = compared(
            {
                "openai_call, one text": lambda: LESSON.predict(None, one),
                "openai_batch, one text": partial(reader(8).predict, None, one),
            },
            texts=1,
            rounds=31,
        )
        batches: dict[str, Callable[[], object]] = {
            "openai_call, 64 texts": lambda: LESSON.predict(None, many),
            "openai_batch, 64 texts": partial(reader(8).predict, None, many),
        }
        tables = {"A text that is answered at once": rows + compared(batches, 64, 5)}
    with service(latency=0.1):
        client = openai.OpenAI()
        ways: dict[str, Callable[[], object]] = {
            "plain client, one after another": lambda: [bare(client) for _ in many["text"]],
            "openai_call, 8 at a time": lambda: LESSON.predict(None, many),
        }
        for limit in (8, 32):
            ways[f"openai_batch, {limit} at a time"] = partial(reader(limit).predict, None, many)
        seconds = interleave(ways, rounds=3)
    base = seconds["plain client, one after another"]
    tables["64 texts, 100 ms each"] = [
        {"way": way, "seconds": took, "of one after another": took / base}
        for way, took in seconds.items()
    ]
    publish("openai_batch", tables)


if __name__ == "__main__":
    main()
