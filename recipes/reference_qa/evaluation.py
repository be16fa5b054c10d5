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
    found = [passage["text"] for passage in outputs["custom_outputs"]["passages"].values()]
    ranks = [i for i, text in enumerate(found, 1) if answers(text, expectations["phrase"])]
    return ranks[0] if ranks and expectations["phrase"] else 0


SCORERS = [resolves, grounded, answered, retrieved]


def ask(question: str) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": question}]}


def evaluate(model: Any, questions: pd.DataFrame, traced: int) -> pd.DataFrame:
    """Return the questions with their answers and scores, a column for each scorer.

    The first `traced` ones go through mlflow.genai.evaluate, which keeps their traces with the
    scores beside them. It costs ten times as much as asking: the rest is only asked.
    """
    known = [{"phrase": phrase} for phrase in questions["phrase"]]
    data = pd.DataFrame({"inputs": list(map(ask, questions["question"])), "expectations": known})
    os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = "1"  # more would wait for SQLite's one writer
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # a page of hints
        mlflow.genai.evaluate(
            data=data[:traced],
            predict_fn=lambda input: model.predict({"input": input}),
            scorers=SCORERS,
        )
    mlflow.tracing.disable()
    answers = [model.predict(row) for row in data["inputs"]]
    mlflow.tracing.enable()
    scores = {
        scorer.name: [
            scorer.run(outputs=answer, expectations=expected)
            for answer, expected in zip(answers, known, strict=True)
        ]
        for scorer in SCORERS
    }
    said = [answer["output"][0]["content"][0]["text"] for answer in answers]
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
