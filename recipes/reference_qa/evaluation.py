"""How good the answers are: 60 questions in a user's words, and 40 that the reference can't answer.

Half of them (`choosing`) served to choose passages, score and its least value; the other half
(`held out`) did not. A passage that answers the question holds `phrase`, or one of several with a
| between; it is empty where the reference has no answer.
"""

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.genai.scorers import scorer

QUESTIONS = Path(__file__).with_name("questions.csv")


def flat(text: str) -> str:
    return " ".join(text.split()).lower()


def cited(outputs: dict[str, Any]) -> list[str]:
    (message,) = outputs["output"]
    return [note["file_id"] for note in message["content"][0]["annotations"]]


def answers(passage: str, phrases: str) -> bool:
    """Return whether the passage holds one of the phrases of a question."""
    return any(flat(phrase) in flat(passage) for phrase in phrases.split("|"))


@scorer
def resolves(outputs: dict[str, Any]) -> bool:
    """Each citation names a passage that came with the answer."""
    return set(cited(outputs)) <= set(outputs["custom_outputs"]["passages"])


@scorer
def grounded(outputs: dict[str, Any]) -> bool:
    """The answer stands in a passage that it cites, word for word; a refusal has none."""
    passages, notes = outputs["custom_outputs"]["passages"], cited(outputs)
    said = flat(outputs["output"][0]["content"][0]["text"])
    return not notes or any(said in flat(passages[note]["text"]) for note in notes)


@scorer
def answered(outputs: dict[str, Any]) -> bool:
    """It was no refusal."""
    return cited(outputs) != []


@scorer
def retrieved(outputs: dict[str, Any], expectations: dict[str, Any]) -> int:
    """The rank of the first passage that answers the question; 0 where there is none."""
    found = [
        passage["text"] for passage in outputs["custom_outputs"]["passages"].values()
    ]
    ranks = [
        i for i, text in enumerate(found, 1) if answers(text, expectations["phrase"])
    ]
    return ranks[0] if ranks and expectations["phrase"] else 0


SCORERS = [resolves, grounded, answered, retrieved]


def ask(question: str) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": question}]}


def evaluate(model: Any, questions: pd.DataFrame, traced: int) -> pd.DataFrame:
    """Return the questions with their answers and scores, a column for each scorer.

    `traced` of each kind and part are kept as traces, and mlflow.genai.evaluate puts the scores
    beside them. It takes three times as long as asking does, so the others are only asked.
    """
    inputs = questions["question"].map(ask)
    known = questions["phrase"].map(lambda phrase: {"phrase": phrase})
    kept = questions.groupby(["part", questions["phrase"] == ""]).head(traced).index
    answers, traces = {}, []
    for row in kept:
        answers[row] = model.predict(inputs[row])
        traces.append(mlflow.get_last_active_trace_id())
    data = pd.DataFrame(
        {"trace": map(mlflow.get_trace, traces), "expectations": known[kept]}
    )
    os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = (
        "1"  # more would wait for SQLite's one writer
    )
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # a page of hints
        mlflow.genai.evaluate(data=data, scorers=SCORERS)
    mlflow.tracing.disable()
    answers |= {
        row: model.predict(inputs[row]) for row in inputs.index.difference(kept)
    }
    mlflow.tracing.enable()
    scores = {
        scorer.name: [
            scorer.run(outputs=answers[row], expectations=known[row])
            for row in inputs.index
        ]
        for scorer in SCORERS
    }
    said = [answers[row]["output"][0]["content"][0]["text"] for row in inputs.index]
    return questions.assign(answer=said, **scores)


def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Return the figures of one part of the questions."""
    known = rows["phrase"] != ""
    return {
        "recall at 1": float((rows["retrieved"][known] == 1).mean()),
        "recall at 5": float((rows["retrieved"][known] > 0).mean()),
        "answered": float(rows["answered"][known].mean()),
        "refused out of scope": float(1 - rows["answered"][~known].mean()),
        "citations that resolve": float(rows["resolves"].mean()),
        "grounded": float(rows["grounded"].mean()),
    }
