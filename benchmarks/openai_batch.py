"""Measure openai_batch: what its parts cost, how rows share the waiting.

    python -m benchmarks.openai_batch

The service is a fake one on loopback, in a process of its own, so that nothing but the
client's side is measured.
"""

import ast
import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shared.recipes import find

import httpx2
import pandas as pd

from benchmarks.fake_service import elsewhere
from benchmarks.report import Rows, interleave, publish

RECIPE = find("openai_batch").path
PACKAGE = RECIPE / "openai_batch_client"
# Where model_code.py finds its package, as in a loaded model.
sys.path.insert(0, str(RECIPE))

from openai_batch_client import service as client  # noqa: E402

from recipes.openai_batch import model_code  # noqa: E402
from recipes.openai_call import model_code as lesson  # noqa: E402

KEY = "sk-" + "0123456789abcdef" * 4
ROUNDS = 25
BATCH = pd.DataFrame({"text": ["fine"] * 64})
FEW = BATCH[:16]
BUYS = {  # module -> what it buys over openai_call
    "service.py": "a deadline for each row, both APIs, streaming, refused fields",
    "replies.py": "refusals, cut answers and errors under status 200 by name",
    "transport.py, masking.py": "at most 1 MB of a reply, no redirect, the key nowhere",
    "pace.py": "your limits a minute, Retry-After for all rows",
    "threads.py": "Ctrl-C at once, also in a notebook",
}


class PlainClient(httpx2.AsyncClient):
    """The HTTP client without the guard."""

    def __init__(self, *guards: Any, longest_wait: float, **options: Any) -> None:
        super().__init__(**options)


def lesson_reader() -> lesson.FeedbackReader:
    model = lesson.FeedbackReader()
    model.load_context(SimpleNamespace(model_config={}))
    return model


def reader(**config: Any) -> model_code.FeedbackReader:
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def code_lines(modules: str) -> int:
    """Return the lines of code in these modules, without comments and docstrings."""
    total = 0
    for module in modules.split(", "):
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        total += len(ast.unparse(tree).splitlines())
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                total -= len(str(node.value.value).splitlines())
    return total


def without_guard(model: model_code.FeedbackReader) -> None:
    with patch.object(client, "GuardedClient", PlainClient):
        model.predict(None, BATCH)


def parts() -> Rows:
    """Return a row for each part: what it buys, and what it costs."""
    plain = reader()
    limited = reader(requests_per_minute=1e9, tokens_per_minute=1e12)
    ways: dict[str, Callable[[], object]] = {
        "whole": partial(plain.predict, None, BATCH),
        "without guard": partial(without_guard, plain),
        "with limits": partial(limited.predict, None, BATCH),
        "openai_call": partial(lesson_reader().predict, None, BATCH),
    }
    seconds = interleave(ways, ROUNDS, time.process_time)
    ms = {way: 1000 * taken / len(BATCH) for way, taken in seconds.items()}
    costs = {
        "transport.py, masking.py": ms["whole"] - ms["without guard"],
        "pace.py": max(ms["with limits"] - ms["whole"], 0.0),
    }
    rows: Rows = []
    for module, buys in BUYS.items():
        lines, spent = code_lines(module), costs.get(module, "")
        part = {"part": module, "buys": buys, "code lines": lines}
        rows.append(part | {"CPU ms a text": spent})
    whole = {"part": "**all of it**", "buys": "", "code lines": ""}
    rows.append(whole | {"CPU ms a text": ms["whole"]})
    rows.append(whole | {"part": "openai_call", "CPU ms a text": ms["openai_call"]})
    return rows


def main() -> None:
    with elsewhere(key=KEY):
        tables = {"What each part buys over openai_call, and costs": parts()}
    with elsewhere(0.1, KEY):
        ways = {
            f"{n} at a time": partial(reader(concurrency=n).predict, None, FEW)
            for n in (1, 8, 16)
        }
        ways["openai_call"] = partial(lesson_reader().predict, None, FEW)
        seconds = interleave(ways, 3)
    base = seconds["1 at a time"]
    tables["16 texts, each answered after 100 ms"] = [
        {"way": way, "seconds": took, "times faster than one at a time": base / took}
        for way, took in seconds.items()
    ]
    publish("openai_batch", tables)


if __name__ == "__main__":
    main()
