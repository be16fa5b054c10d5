"""Measure graph_agent: how messages are read.

The rival reads the same 60 messages: the local language model, with the same examples
in its prompt and a JSON schema enforced.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from shared.local_embeddings import started
from shared.recipes import ROOT

import mlflow
import openai
import pandas as pd

from benchmarks.report import Rows, publish
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


if __name__ == "__main__":
    mlflow.tracing.disable()
    with started():
        rows = readings()
    best = dict.fromkeys([*rows[0]][1:], "max")
    best["taken for a refund by mistake"] = "min"
    publish("graph_agent", {"60 messages, half of them held out": rows}, best=best)
