"""How the rows of openai_batch share the waiting, beside openai_call.

    python -m benchmarks.openai_batch

The service is a fake one on loopback, in a process of its own, so that nothing but the
client's side is measured.
"""

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

from shared.recipes import find

import pandas as pd

from benchmarks.fake_service import elsewhere
from benchmarks.report import Rows, interleave, publish

# Where model_code.py finds its package, as in a loaded model.
sys.path.insert(0, str(find("openai_batch").path))

from recipes.openai_batch import model_code  # noqa: E402
from recipes.openai_call import model_code as lesson  # noqa: E402

TEXTS = pd.DataFrame({"text": ["fine"] * 16})


def load(model: Any, **config: Any) -> Any:
    model.load_context(SimpleNamespace(model_config=config))
    return model


def waiting() -> Rows:
    ways = {
        f"{n} at a time": load(model_code.FeedbackReader(), concurrency=n)
        for n in (1, 8, 16)
    }
    ways["openai_call"] = load(lesson.FeedbackReader())
    calls = {way: partial(model.predict, None, TEXTS) for way, model in ways.items()}
    with elsewhere(latency=0.1):
        seconds = interleave(calls, 3).median()
    base = seconds["1 at a time"]
    return [
        {"way": way, "seconds": taken, "times faster than one at a time": base / taken}
        for way, taken in seconds.items()
    ]


if __name__ == "__main__":
    publish("openai_batch", {"16 texts, each answered after 100 ms": waiting()})
