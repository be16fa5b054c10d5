"""Measure reference_qa: what answers are worth, what each part adds.

reference_qa.csv has the verdicts of a person who read the answers to the held-out
questions in scope. It needs the library reference, as `make passages` does.
"""

import sys
from types import SimpleNamespace
from typing import Any

from shared.local_embeddings import local_embeddings
from shared.local_llm import local_llm
from shared.recipes import ROOT

import mlflow
import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.report import Rows, publish
from recipes.reference_qa import model_code

sys.path.insert(0, str(ROOT / "recipes/reference_qa"))
import evaluation  # noqa: E402
import passages  # noqa: E402

READ = pd.read_csv(ROOT / "benchmarks/reference_qa.csv")
QUESTIONS = pd.read_csv(evaluation.QUESTIONS, keep_default_na=False)
VERDICTS = ["answers", "answer among the names", "beside the point", "false", "refused"]
CHAIN: Any = model_code.ReferenceAgent()
CHAIN.load_context(
    SimpleNamespace(artifacts={"entries": str(passages.FILE)}, model_config={})
)


def predict(body: dict[str, Any]) -> dict[str, Any]:
    return CHAIN.predict(body).model_dump()


def read_by_hand() -> Rows:
    table = []
    for way, rows in READ.groupby("way", sort=False):
        verdicts = rows["verdict"].value_counts()
        counts = {name: int(verdicts.get(name, 0)) for name in VERDICTS}
        table.append({"way": way, "questions": len(rows)} | counts)
    return table


def shares() -> Rows:
    """Return what the driver measures, with its interval."""
    rows = evaluation.ask(SimpleNamespace(predict=predict), QUESTIONS)
    mlflow.tracing.disable()  # which asking has enabled
    if rows["error"].notna().any():
        sys.exit(f"failed: {rows['error'].dropna().iloc[0]}")
    parts = {part: evaluation.figures(some) for part, some in rows.groupby("part")}
    table = []
    for name, share in parts["held out"].items():
        kind = name.removeprefix("refused ") if "refused" in name else "in scope"
        unseen = rows[(rows["kind"] == kind) & (rows["part"] == "held out")]
        test = binomtest(round(share * len(unseen)), len(unseen))
        low, high = test.proportion_ci(method="wilson")
        table.append(
            {
                "measure": name,
                "held out": round(share, 3),
                "95 % interval": f"{low:.2f} to {high:.2f}",
                "choosing": round(parts["choosing"][name], 3),
            }
        )
    return table


def recall(
    scores: np.ndarray, names: list[str], questions: pd.DataFrame
) -> list[float]:
    """Return recall at 1 and at 5 of these scores, a row for each question."""
    ranks = []
    for row, accepted in zip(scores, questions["answer"].str.split("|"), strict=True):
        ordered = dict.fromkeys(names[number] for number in np.argsort(-row))
        best = list(ordered)[:5]
        hits = [place for place, name in enumerate(best, 1) if name in accepted]
        ranks.append(min(hits, default=9))
    return [float(np.mean(np.array(ranks) <= k)) for k in (1, 5)]


def worth_of_each_part() -> Rows:
    """Return the recall with one part after another."""
    questions = QUESTIONS[QUESTIONS["kind"] == evaluation.IN_SCOPE]
    in_scope = CHAIN.entries["in_scope"].to_numpy()
    rows = [entry for entry in passages.entries() if entry.in_scope]
    names = CHAIN.entries["name"][in_scope].tolist()
    assert names == [row.name for row in rows]
    first = ~CHAIN.entries["name"][in_scope].duplicated().to_numpy()  # no phrase
    topics = sorted({row.topic for row in rows})
    place = {topic: number for number, topic in enumerate(topics)}
    topic = passages.embed(topics)[[place[row.topic] for row in rows]]
    both = CHAIN.vectors[in_scope]
    vectors = np.stack([CHAIN.embed(question) for question in questions["question"]])
    words = TfidfVectorizer(sublinear_tf=True)
    texts = words.fit_transform([row.compared for row in rows])
    by_words = (words.transform(questions["question"]) @ texts.T).toarray()
    alone = vectors @ (both - passages.TOPIC * topic).T
    prior = CHAIN.entries["prior"][in_scope].to_numpy()
    own = np.where(first, 0, -9)  # leaves the phrases out
    ways = {
        "TF-IDF of the reference's words": by_words + own,
        "embedding of the reference": alone + own,
        "and of the headings above": vectors @ both.T + own,
        "and how common an entry is": vectors @ both.T + prior + own,
        "and phrases: the model": vectors @ both.T + prior,
        "TF-IDF of the words and phrases": by_words,
    }
    table = []
    for way, scores in ways.items():
        line: dict[str, Any] = {"way": way}
        for part in ("held out", "choosing"):
            here = (questions["part"] == part).to_numpy()
            found = recall(scores[here], names, questions[here])
            line |= {f"recall at {k}, {part}": found[i] for i, k in enumerate((1, 5))}
        table.append(line)
    return table


if __name__ == "__main__":
    mlflow.tracing.disable()
    mlflow.set_tracking_uri(f"sqlite:///{ROOT}/build/reference_qa_bench.db")
    with local_llm(), local_embeddings():
        tables = {"Answers to the held-out questions, read by hand": read_by_hand()}
        tables["Questions in a user's words"] = shares()
        tables["What each part adds"] = worth_of_each_part()
    best = {
        name: "max" for name in tables["What each part adds"][0] if "recall" in name
    }
    publish("reference_qa", tables, best=best | {"answers": "max"})
