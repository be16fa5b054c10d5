"""How good the answers are, on questions in a user's words with the names that answer.

questions.csv: `part` is choosing (what the settings were chosen on) or held out. `kind`
is "in scope", or one of the kinds that must be refused. `answer` lists the names that
answer, with a | between them.
"""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.genai.scorers import scorer
from model_code import names_any

QUESTIONS = Path(__file__).with_name("questions.csv")
IN_SCOPE = "in scope"
MEASURED = ("text", "score", "answered", "rank", "error")


def read_questions(entries: pd.DataFrame) -> pd.DataFrame:
    """Return the questions; say what is missing for an evaluation."""
    questions = pd.read_csv(QUESTIONS, keep_default_na=False)
    missing = {"part", "kind", "question", "answer"} - set(questions)
    if missing:
        sys.exit(f"{QUESTIONS.name} lacks the columns {', '.join(sorted(missing))}")
    for part in ("choosing", "held out"):
        kinds = questions["kind"][questions["part"] == part]
        if not (kinds == IN_SCOPE).any() or (kinds == IN_SCOPE).all():
            sys.exit(f"{QUESTIONS.name}, {part}: needs questions in scope, and others")
    names = set(entries["name"])
    for row in questions[questions["kind"] == IN_SCOPE].to_dict("records"):
        if not names & set(row["answer"].split("|")):
            print(f"no entry is called {row['answer']}: {row['question']}")
    other_names = entries.attrs["other_names"]
    questions["names_another"] = [
        names_any(question, other_names) for question in questions["question"]
    ]
    return questions


def request(question: str) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": question}]}


def text_of(outputs: dict[str, Any]) -> str:
    return outputs["output"][0]["content"][0]["text"]


def answered(outputs: dict[str, Any]) -> bool:
    """Return whether it was no refusal: the answer cites something."""
    return outputs["output"][0]["content"][0]["annotations"] != []


def rank(outputs: dict[str, Any], names: list[str]) -> int:
    """Return the place of the first entry that answers the question; 0 if none does."""
    for place, entry in enumerate(outputs["custom_outputs"]["entries"], 1):
        if entry["id"] in names:
            return place
    return 0


@scorer
def as_expected(outputs: dict[str, Any], expectations: dict[str, Any]) -> bool:
    """The answer names an entry that answers; a question out of scope is refused."""
    names = expectations["names"]
    if names == [""]:
        return not answered(outputs)
    return answered(outputs) and rank(outputs, names) > 0


def ask(model: Any, questions: pd.DataFrame) -> pd.DataFrame:
    """Ask each question; an answer that failed has its reason in the column `error`."""
    rows = []
    mlflow.tracing.disable()  # a trace takes longer than the answer
    for row in questions.to_dict("records"):
        found: dict[str, Any] = dict.fromkeys(MEASURED)
        try:
            outputs = model.predict(request(row["question"]))
        except mlflow.MlflowException as error:
            found["error"] = error.message
        else:
            names = row["answer"].split("|")
            found["text"] = text_of(outputs)
            best = outputs["custom_outputs"]["entries"][0]["metadata"]
            # Others are refused whatever least_score is.
            if best["in_scope"] and not row.get("names_another"):
                found["score"] = best["score"]
            found["answered"] = answered(outputs)
            found["rank"] = rank(outputs, names)
        rows.append(row | found)
    mlflow.tracing.enable()
    return pd.DataFrame(rows)


def keep_traces(model: Any, questions: pd.DataFrame) -> None:
    """Keep a question of each kind and part as a trace, with its scores.

    mlflow.genai.evaluate takes three times as long as asking does: so not for all.
    """
    some = questions.groupby(["part", "kind"]).head(1)
    inputs = [{"question": question} for question in some["question"]]
    names = [{"names": answer.split("|")} for answer in some["answer"]]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # a page of hints
        mlflow.genai.evaluate(
            data=pd.DataFrame({"inputs": inputs, "expectations": names}),
            predict_fn=lambda question: model.predict(request(question)),
            scorers=[as_expected],
        )


def figures(rows: pd.DataFrame) -> dict[str, float]:
    """Return the shares of one part of the questions; a failed answer is in none."""
    rows = rows[rows["error"].isna()]
    known = rows[rows["kind"] == IN_SCOPE]
    found = {
        "recall at 1": (known["rank"] == 1).mean(),
        "recall at 5": known["rank"].between(1, 5).mean(),
        "answered": known["answered"].mean(),
    }
    for kind, some in rows[rows["kind"] != IN_SCOPE].groupby("kind"):
        found[f"refused {kind}"] = 1 - some["answered"].mean()
    return {name: float(share) for name, share in found.items()}


def between(rows: pd.DataFrame) -> str:
    """Return the scores that least_score is set between."""
    inside = rows["kind"] == IN_SCOPE
    known = rows["score"][inside].astype(float)
    other = rows["score"][~inside].astype(float)
    return (
        f"9 of 10 questions in scope score {known.quantile(0.1):.2f} or more, "
        f"9 of 10 others {other.quantile(0.9):.2f} or less"
    )
