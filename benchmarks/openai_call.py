"""Measure openai_call: quality on labelled sentences, what a call costs beside a bare client.

    python -m benchmarks.openai_call

Quality is the local model's. Times are taken against a fake service on loopback that answers at
once, so that nothing is measured but the client's side.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import openai
import pandas as pd

from benchmarks.report import Rows, interleave, publish
from recipes.openai_call import model_code
from shared.local_llm import local_llm

HERE = Path(__file__).parent
MODEL = model_code.FeedbackReader()


def quality() -> Rows:
    """The 60 labelled sentences; product and price count together, over the 20 that name them."""
    labels = pd.read_csv(HERE / "openai_call.csv")
    mood, rows = labels["sentiment"].notna(), []
    whole, bare = model_code.PROMPT, model_code.PROMPT[:1]
    for way, prompt, check in [
        ("as logged", whole, model_code.grounded),
        ("without the two examples", bare, model_code.grounded),
        ("without `grounded`", whole, lambda answer, _: answer.model_dump()),
    ]:
        print(f"60 sentences, {way}", flush=True)
        with patch.multiple(model_code, PROMPT=prompt, grounded=check):
            got = MODEL.predict(None, labels[["text"]])
        right = got["sentiment"] == labels["sentiment"]
        said = (got["product"] == labels["product"]) & (got["price"] == labels["price"])
        made_up = got["price"].notna() & labels["price"].isna()
        rows.append(
            {
                "way": way,
                "answered": f"{got['error'].isna().sum()} of {len(got)}",
                "sentiment": f"{right[mood].sum()} of {mood.sum()}",
                "product and price": f"{said[~mood].sum()} of {(~mood).sum()}",
                "a price where there is none": f"{made_up.sum()} of {labels['price'].isna().sum()}",
            }
        )
    return rows


@contextmanager
def service(latency: float = 0.0) -> Iterator[None]:
    """Run the fake service in a process of its own, as the configured endpoint."""
    command = [sys.executable, str(HERE.parent / "tests" / "fault_server.py"), str(latency)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        url = process.stdout.readline().strip()
        os.environ |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
        yield
        process.stdin.close()


def bare(client: openai.OpenAI) -> Any:
    """Ask about one text with the plain client, as the model does."""
    said: Any = [{"role": role, "content": words} for role, words in model_code.PROMPT]
    schema = {"name": "answer", "strict": True, "schema": model_code.Feedback.model_json_schema()}
    form: Any = {"type": "json_schema", "json_schema": schema}
    request = {"model": "fake", "messages": said, "response_format": form, **model_code.REQUEST}
    reply = client.chat.completions.create(**request)
    return model_code.Feedback.model_validate_json(reply.choices[0].message.content or "")


def compared(ways: dict[str, Callable[[], object]], texts: int, rounds: int) -> Rows:
    """Return for each way the milliseconds of a text, and those of this process's own work."""
    seconds, rows = interleave(ways, rounds), []
    for way, run in ways.items():
        work = []
        for _ in range(rounds):
            start = time.process_time()
            run()
            work.append(time.process_time() - start)
        cpu = statistics.median(work)
        rows.append(
            {"way": way, "ms a text": seconds[way] / texts * 1e3, "CPU ms": cpu / texts * 1e3}
        )
    return rows


def overhead() -> Rows:
    kept = openai.OpenAI()
    one, many = (pd.DataFrame({"text": ["fine"] * n}) for n in (1, 64))
    rows = compared(
        {
            "plain client, kept open": lambda: bare(kept),
            "plain client, made for the call": lambda: bare(openai.OpenAI()),
            "the model, one text": lambda: MODEL.predict(None, one),
        },
        texts=1,
        rounds=31,
    )
    return rows + compared({"the model, 64 texts": lambda: MODEL.predict(None, many)}, 64, 5)


def main() -> None:
    with local_llm():
        tables = {"The local model on 60 labelled sentences": quality()}
    with service():
        tables["A text that is answered at once"] = overhead()
    publish("openai_call", tables)


if __name__ == "__main__":
    main()
