"""Measure graph_agent: how messages are read, what the file of conversations holds.

    python -m benchmarks.graph_agent

The rivals read the same 60 messages: a word list, and the local language model with the
same examples in its prompt and a JSON schema enforced.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.local_embeddings import started
from shared.recipes import ROOT

import mlflow
import openai
import pandas as pd
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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

Reading = tuple[str, int | None, float | None]


def by_example(text: str) -> Reading:
    numbers = model_code.read_numbers(text)
    intent = model_code.nearest_intent(text)
    return intent, numbers.get("customer"), numbers.get("amount")


def by_words(text: str) -> Reading:
    numbers = model_code.read_numbers(text)
    words = {"refund": ["refund", "back"], "forecast": ["worth", "spend", "clv"]}
    words["follow_up"] = ["and ", "about", "same"]
    hits = [
        name for name, some in words.items() if any(w in text.lower() for w in some)
    ]
    intent = hits[0] if hits else "other"
    return intent, numbers.get("customer"), numbers.get("amount")


def by_language_model(text: str) -> Reading:
    shown = []
    for intent, examples in model_code.EXAMPLES.items():
        for example in examples:
            read = {"customer": None, "amount": None}
            read |= model_code.read_numbers(example)
            fields = {name: read[name] for name in ("customer", "amount")}
            answer = json.dumps({"intent": intent} | fields)
            shown.append({"role": "user", "content": example})
            shown.append({"role": "assistant", "content": answer})
    schema: Any = {"name": "message", "schema": SCHEMA, "strict": True}
    messages: Any = [{"role": "system", "content": TASK}, *shown]
    reply = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"]).chat.completions
    completion = reply.create(
        model=os.environ["OPENAI_MODEL"],
        messages=[*messages, {"role": "user", "content": text}],
        temperature=0,
        max_completion_tokens=60,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    read = json.loads(completion.choices[0].message.content or "")
    return read["intent"], read["customer"], read["amount"]


def readings() -> Rows:
    """Return how each way reads the held-out messages."""
    table = []
    ways: dict[str, Callable[[str], Reading]] = {
        "nearest example, patterns: the model": by_example,
        "a list of words, patterns": by_words,
        "the local language model": by_language_model,
    }
    for way, read in ways.items():
        rows = MESSAGES.copy()
        found = [read(text) for text in rows["text"]]
        rows["right"] = [one[0] for one in found] == rows["intent"]
        refund = pd.Series([one[0] == "refund" for one in found])
        rows["false refund"] = refund & ~rows["right"]
        pairs = [(one[1] or 0, one[2] or 0) for one in found]
        known = zip(rows["customer"].fillna(0), rows["amount"].fillna(0), strict=True)
        rows["numbers"] = [a == b for a, b in zip(pairs, known, strict=True)]
        unseen = rows[rows["part"] == "held out"]
        chosen = rows[rows["part"] == "choosing"]
        table.append(
            {
                "way": way,
                "routed right, of 30 held out": int(unseen["right"].sum()),
                "taken for a refund by mistake": int(unseen["false refund"].sum()),
                "both numbers right": int(unseen["numbers"].sum()),
                "routed right, of 30 for choosing": int(chosen["right"].sum()),
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
    db = sqlite3.connect(folder / "desk.db")

    def row(when: str) -> dict[str, Any]:
        db.execute("vacuum")
        db.execute("pragma wal_checkpoint(truncate)")
        file = (folder / "desk.db").read_bytes()
        count = "select count(*) from checkpoints"
        return {
            "after": when,
            "checkpoints": db.execute(count).fetchone()[0],
            "kB": len(file) / 1000,
            "messages readable in the file": b"Refund customer 311" in file,
        }

    table = [row("100 messages of a conversation")]
    desk.graph.checkpointer.delete_thread("desk-1")
    return [*table, row("its deletion, and `vacuum`")]


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
    seconds = interleave(ways, 40, time.process_time)
    return [{"one message": way, "CPU ms": 1000 * s} for way, s in seconds.items()]


def required(names: set[str]) -> set[str]:
    """Return these packages and all that they require, as installed here."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting |= {canonicalize_name(need.name)} - found
    return found


def import_cpu(before: str, modules: str) -> float:
    """Return the CPU seconds that importing the modules takes after the ones before."""
    code = f"import time\n{before}\nstart = time.process_time()\nimport {modules}\n"
    code += "print(time.process_time() - start)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    runs = [float(subprocess.check_output(command, text=True)) for _ in range(3)]
    return sorted(runs)[1]


def weights() -> Rows:
    """Return what LangGraph and LangChain add to an environment with MLflow."""
    base, graph = "mlflow.pyfunc, openai, pandas", "langgraph.graph, langgraph.runtime"
    saver = "langgraph.checkpoint.sqlite"
    groups = {
        "MLflow, NumPy, pandas, openai": ["mlflow", "numpy", "pandas", "openai"],
        "LangGraph, its saver for SQLite": ["langgraph", "langgraph-checkpoint-sqlite"],
        "LangChain, for the flavor only": ["langchain"],
    }
    imports = [base, f"{graph}, {saver}", "mlflow.langchain, langchain.agents"]
    seen: set[str] = set()
    before = ""
    table = []
    for (group, names), modules in zip(groups.items(), imports, strict=True):
        seconds = import_cpu(before, modules)
        before += f"import {modules}\n"
        new = required(set(names)) - seen
        seen |= new
        files = [file for name in new for file in metadata.files(name) or []]
        paths = [Path(str(file.locate())) for file in files]
        size = sum(path.stat().st_size for path in paths if path.is_file())
        row = {"adds": group, "packages": len(new), "MB": size / 1e6}
        table.append(row | {"CPU s to import": seconds})
    return table


if __name__ == "__main__":
    mlflow.tracing.disable()
    with started(), tempfile.TemporaryDirectory() as place:
        tables = {"60 messages, half of them held out": readings()}
        tables["What the file of conversations holds"] = conversations(Path(place))
        tables["What a message costs"] = costs(Path(place))
        tables["What is installed"] = weights()
    best = dict.fromkeys([*tables["60 messages, half of them held out"][0]][1:], "max")
    best["taken for a refund by mistake"] = "min"
    publish("graph_agent", tables, best=best)
