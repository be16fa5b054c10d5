"""Measure openai_batch: how rows share the waiting, what a text costs beside the lesson.

    python -m benchmarks.openai_batch

The service is a fake one on loopback, so that nothing is measured but the client's side.
"""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from benchmarks.openai_call import EACH, LONG, TEXTS, costs, service
from benchmarks.openai_call import MODEL as LESSON
from benchmarks.report import interleave, publish

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "openai_batch"
sys.path.insert(
    0, str(RECIPE)
)  # where model_code.py finds its package, as in a loaded model

from recipes.openai_batch import model_code  # noqa: E402


def reader(concurrency: int) -> model_code.FeedbackReader:
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config={"concurrency": concurrency}))
    return model


def main() -> None:
    models = {n: reader(n) for n in (1, 8, 16)}
    with service():
        ways = {
            "openai_call, a text at a time": lambda: [
                LESSON.predict(None, t) for t in EACH
            ],
            "openai_call, all at once": lambda: LESSON.predict(None, TEXTS),
            "openai_batch, a text at a time": lambda: [
                models[8].predict(None, t) for t in EACH
            ],
            "openai_batch, all at once": lambda: models[8].predict(None, TEXTS),
        }
        ways |= {
            f"{n:,} characters": partial(models[8].predict, None, t)
            for n, t in LONG.items()
        }
        tables = {"What a text costs": costs(ways)}
    with service(latency=0.1):
        asks = {
            f"{n} at a time": partial(m.predict, None, TEXTS) for n, m in models.items()
        }
        seconds = interleave(
            asks | {"openai_call": partial(LESSON.predict, None, TEXTS)}, 3
        )
    base = seconds["1 at a time"]
    tables["16 texts, answered after 100 ms each"] = [
        {"way": way, "seconds": took, "ratio": took / base}
        for way, took in seconds.items()
    ]
    publish("openai_batch", tables)


if __name__ == "__main__":
    main()
