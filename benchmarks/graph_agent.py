"""Measure graph_agent: how messages are read, what the file of conversations holds.

    python -m benchmarks.graph_agent

The rival reads the same 60 messages: the local language model, with the same examples
in its prompt and a JSON schema enforced.
"""

import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.local_embeddings import started
from shared.recipes import ROOT

import mlflow
import openai
import pandas as pd

from benchmarks.report import Rows, interleave, publish
from recipes.graph_agent import model_code

HERE = ROOT / "recipes/graph_agent"
MESSAGES = pd.read_csv(HERE / "utterances.csv")
SCHEMA = {
    "type": "object",
    "properties": {
        "intent": {"enum": [*model_code.EXAMPLES]},
        "customer": {"type": ["integer", "null"]},
        "amount": {"type": ["number", "null"]},
    },
    "required": ["intent", "customer", "amount"],
}
TASK = "Read a message to a shop: its intent, the customer's number and the dollars."

Reading = dict[str, Any]


def reading(intent: str, text: str) -> Reading:
    numbers = model_code.read_numbers(text)
    return {
        "intent": intent,
        "customer": numbers.get("customer"),
        "amount": numbers.get("amount"),
    }


def by_example(text: str) -> Reading:
    return reading(model_code.nearest_intent(text), text)


def by_language_model(text: str) -> Reading:
    messages: list[Any] = [{"role": "system", "content": TASK}]
    for intent, examples in model_code.EXAMPLES.items():
        for example in examples:
            answer = json.dumps(reading(intent, example))
            messages.append({"role": "user", "content": example})
            messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": text})
    schema: Any = {"name": "message", "schema": SCHEMA, "strict": True}
    client = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"])
    completion = client.chat.completions.create(
        model=os.environ["OPENAI_MODEL"],
        messages=messages,
        temperature=0,
        max_completion_tokens=60,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    return json.loads(completion.choices[0].message.content or "")


def readings() -> Rows:
    """Return how each way reads the messages."""
    table = []
    ways: dict[str, Callable[[str], Reading]] = {
        "nearest example, patterns: the model": by_example,
        "the local language model": by_language_model,
    }
    numbers = ["customer", "amount"]
    for way, read in ways.items():
        found = pd.DataFrame([read(text) for text in MESSAGES["text"]])
        right = found["intent"] == MESSAGES["intent"]
        wrong_refund = (found["intent"] == "refund") & ~right
        numbers_right = found[numbers].fillna(0) == MESSAGES[numbers].fillna(0)
        unseen = MESSAGES["part"] == "held out"
        table.append(
            {
                "way": way,
                "routed right, of 30 held out": int(right[unseen].sum()),
                "taken for a refund by mistake": int(wrong_refund[unseen].sum()),
                "both numbers right": int(numbers_right[unseen].all(axis=1).sum()),
                "routed right, of 30 for choosing": int(right[~unseen].sum()),
            }
        )
    return table


def agent(file: str) -> Any:
    os.environ["DESK_DB"] = file
    desk = model_code.ShopDesk()
    artifacts = {"customers": str(HERE / "customers.csv")}
    desk.load_context(SimpleNamespace(artifacts=artifacts))
    return desk


def body(message: str) -> dict[str, Any]:
    context = {"conversation_id": "desk-1"}
    return {"input": [{"role": "user", "content": message}], "context": context}


def conversations(folder: Path) -> Rows:
    """Return what the file holds after 100 messages, and after the deletion."""
    desk = agent(str(folder / "desk.db"))
    for number in range(50):
        desk.predict(body(f"Refund customer 311 {number + 1} dollars"))
        desk.predict(body("no"))
    rows = [contents("100 messages of a conversation", folder)]
    desk.graph.checkpointer.delete_thread("desk-1")
    return [*rows, contents("its deletion, and `vacuum`", folder)]


def contents(when: str, folder: Path) -> dict[str, Any]:
    db = sqlite3.connect(folder / "desk.db")
    db.execute("vacuum")
    db.execute("pragma wal_checkpoint(truncate)")
    file = (folder / "desk.db").read_bytes()
    return {
        "after": when,
        "checkpoints": db.execute("select count(*) from checkpoints").fetchone()[0],
        "kB": len(file) / 1000,
        "messages readable in the file": b"Refund customer 311" in file,
    }


def costs(folder: Path) -> Rows:
    on_disk, in_memory = agent(str(folder / "cost.db")), agent(":memory:")
    hello = body("Hello, how are you?")
    stateless = model_code.build_graph()
    ways: dict[str, Callable[[], object]] = {
        "the embedding alone": lambda: model_code.embed(["Hello, how are you?"]),
        "the graph without a saver": lambda: stateless.invoke(
            {"message": "Hello, how are you?"}, context=in_memory.shop
        ),
        "the agent, state in memory": lambda: in_memory.predict(hello),
        "the agent, state in a file": lambda: on_disk.predict(hello),
    }
    seconds = interleave(ways, 40, time.process_time).median()
    return [{"one message": way, "CPU ms": 1000 * s} for way, s in seconds.items()]


if __name__ == "__main__":
    mlflow.tracing.disable()
    with started(), tempfile.TemporaryDirectory() as place:
        tables = {"60 messages, half of them held out": readings()}
        tables["What the file of conversations holds"] = conversations(Path(place))
        tables["What a message costs"] = costs(Path(place))
    best = dict.fromkeys([*tables["60 messages, half of them held out"][0]][1:], "max")
    best["taken for a refund by mistake"] = "min"
    publish("graph_agent", tables, best=best)
