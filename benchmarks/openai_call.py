"""Measure openai_call: quality on the labelled sentences, what a call costs on top, concurrency.

    python -m benchmarks.openai_call

Quality is the local model's. Times are taken against a stand-in on loopback that answers at once,
or after 100 ms, so that nothing is measured but the client's side.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import openai
import pandas as pd
from pydantic import ValidationError

from benchmarks.report import Rows, interleave, publish

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "openai_call"
sys.path.insert(0, str(RECIPE))  # where model_code.py finds its package, as in a loaded model

from recipes.openai_call import model_code  # noqa: E402
from recipes.openai_call.model_code import Feedback, question  # noqa: E402
from shared.local_llm import MODEL, local_llm  # noqa: E402


def reader(**config: Any) -> model_code.FeedbackReader:
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def bare(client: openai.OpenAI, text: str, examples: bool, schema: bool) -> dict[str, Any] | None:
    """Return the fields by one call of the plain client, None if they are no valid Feedback."""
    messages: Any = question(text) if examples else [question(text)[0], question(text)[-1]]
    fields: dict[str, Any] = dict(model=MODEL, messages=messages, temperature=0)
    fields |= {"max_completion_tokens": 100}
    try:
        if schema:
            reply = client.chat.completions.parse(**fields, response_format=Feedback)
            parsed = reply.choices[0].message.parsed
            return parsed.model_dump() if parsed else None
        said = client.chat.completions.create(**fields).choices[0].message.content or ""
        return Feedback.model_validate_json(said).model_dump()
    except (ValidationError, openai.LengthFinishReasonError):
        return None


def score(
    what: str, answers: Sequence[Mapping[Any, Any] | None], labels: pd.DataFrame
) -> dict[str, Any]:
    """Return a row of the table: exact matches, of product and price both."""
    got = pd.DataFrame([answer or {} for answer in answers], columns=[*Feedback.model_fields])
    mood = labels["sentiment"].notna()
    same = got["product"].str.lower().eq(labels["product"].str.lower())
    same &= got["price"].astype(float).eq(labels["price"])
    return {
        "way": what,
        "valid": f"{sum(answer is not None for answer in answers)} of {len(labels)}",
        "sentiment": f"{got['sentiment'].eq(labels['sentiment'])[mood].sum()} of {mood.sum()}",
        "product and price": f"{same[~mood].sum()} of {(~mood).sum()}",
    }


def answered(table: pd.DataFrame) -> list[dict[Any, Any] | None]:
    return [None if row["error"] else row for row in table.to_dict("records")]


def quality() -> Rows:
    labels = pd.read_csv(RECIPE / "labelled.csv")
    model = reader(timeout_s=120, deadline_s=600)
    with local_llm():
        client = openai.OpenAI()
        print("60 sentences, 4 times", flush=True)
        ours = model.predict(None, labels[["text"]])
        rows = [score("ours: schema and two examples", answered(ours), labels)]
        backwards = model.predict(None, labels[["text"]][::-1])[::-1]
        rows.append(score("ours, rows in reverse order", answered(backwards), labels))
        for what, examples, schema in [
            ("plain client, schema, no examples", False, True),
            ("plain client, two examples, no schema", True, False),
        ]:
            plain = [bare(client, text, examples, schema) for text in labels["text"]]
            rows.append(score(what, plain, labels))
    return rows


@contextmanager
def service(latency: float = 0.0) -> Iterator[None]:
    """Run the stand-in in a process of its own, as the configured endpoint."""
    command = [sys.executable, str(RECIPE.parents[1] / "tests" / "fault_server.py"), str(latency)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        url = process.stdout.readline().strip()
        os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
        yield
        process.stdin.close()


def cpu(run: Callable[[], object]) -> float:
    """Return the median seconds of this process's own work, which a busy machine leaves alone."""
    took = []
    for _ in range(31):
        start = time.process_time()
        run()
        took.append(time.process_time() - start)
    return statistics.median(took)


def overhead() -> Rows:
    """One call that is answered at once: what is added to the plain client."""
    one = pd.DataFrame({"text": ["fine"]})
    model = reader()
    client = openai.OpenAI()
    ways: dict[str, Callable[[], object]] = {
        "plain client, kept open": lambda: bare(client, "fine", True, True),
        "plain client, made for the call": lambda: bare(openai.OpenAI(), "fine", True, True),
        "ours": lambda: model.predict(None, one),
    }
    seconds = interleave(ways, rounds=31)
    work = {way: cpu(run) for way, run in ways.items()}
    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.create_experiment("openai_call", (Path(folder) / "artifacts").as_uri())
        mlflow.set_experiment("openai_call")
        mlflow.openai.autolog()
        seconds |= interleave({"ours, traced": ways["ours"]}, rounds=31)
        work["ours, traced"] = cpu(ways["ours"])
        mlflow.openai.autolog(disable=True)
        mlflow.flush_trace_async_logging(terminate=True)
    plain = "plain client, kept open"
    return [
        {
            "way": way,
            "ms": seconds[way] * 1e3,
            "added": (seconds[way] - seconds[plain]) * 1e3,
            "CPU ms": work[way] * 1e3,
            "CPU added": (work[way] - work[plain]) * 1e3,
        }
        for way in seconds
    ]


def concurrency() -> Rows:
    """64 texts, each answered after 100 ms."""
    many = pd.DataFrame({"text": ["fine"] * 64})
    client = openai.OpenAI()
    ways: dict[str, Callable[[], object]] = {
        "plain client, one after another": lambda: [
            bare(client, text, True, True) for text in many["text"]
        ]
    }
    for limit in (8, 32):
        model = reader(concurrency=limit)
        ways[f"ours, concurrency {limit}"] = partial(model.predict, None, many)
    seconds = interleave(ways, rounds=3)
    base = seconds["plain client, one after another"]
    return [
        {"way": way, "seconds": took, "of sequential": took / base} for way, took in seconds.items()
    ]


def main() -> None:
    tables = {"The local model on the labelled sentences": quality()}
    with service():
        tables["One call, answered at once"] = overhead()
    with service(latency=0.1):
        tables["64 texts, 100 ms each"] = concurrency()
    publish("openai_call", tables)
    ratios = [row["of sequential"] for row in tables["64 texts, 100 ms each"][1:]]
    assert max(ratios) < 1 / 3, f"64 rows take {max(ratios):.2f} of the sequential time"


if __name__ == "__main__":
    main()
