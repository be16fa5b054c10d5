"""Measure reference_qa: what finds the passages, what written answers are worth, what one costs.

    python -m benchmarks.reference_qa

reference_qa.csv: answers to 12 unseen questions, and what reading them beside the passages found.
"""

import sys
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from shared.local_embeddings import local_embeddings
from shared.local_llm import local_llm
from shared.recipes import ROOT

import mlflow
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from benchmarks.openai_call import costs
from benchmarks.report import Rows, publish
from recipes.reference_qa import model_code

sys.path.insert(0, str(ROOT / "recipes/reference_qa"))
from evaluation import QUESTIONS, answers, ask, flat  # noqa: E402

ASKED = pd.read_csv(QUESTIONS, keep_default_na=False)
READ = pd.read_csv(ROOT / "benchmarks/reference_qa.csv")


def agent(**config: Any) -> model_code.ReferenceAgent:
    made, place = (
        model_code.ReferenceAgent(),
        str(QUESTIONS.parent / "passages.parquet"),
    )
    made.load_context(
        SimpleNamespace(artifacts={"passages": place}, model_config=config)
    )
    return made


def retrieval() -> dict[str, Rows]:
    """Figures of each way; those that aren't the model's refuse below 90 % of `choosing`."""
    chain, words = agent(passages=10_000), TfidfVectorizer(sublinear_tf=True)
    texts = chain.passages.set_index("id")["text"]
    vectors = [chain.embed(question) for question in ASKED["question"]]
    lexical = (
        words.fit_transform(texts.index + " " + texts)
        @ words.transform(ASKED["question"]).T
    )
    found = [
        {d.id: d.metadata["score"] for d in chain.retrieve(vector)}
        for vector in vectors
    ]
    ways = {"lexical: TF-IDF of words": lexical.T.toarray()}
    ways["embedding of the passage"] = vectors @ chain.vectors[chain.passages.index].T
    ways["the model: and half its best sentence's"] = pd.DataFrame(found)[
        texts.index
    ].to_numpy()
    right = np.array(
        [[p != "" and answers(text, p) for text in texts] for p in ASKED["phrase"]]
    )
    known, tables = (ASKED["phrase"] != "").to_numpy(), dict[str, Rows]()
    for way, scores in ways.items():
        top = scores.max(axis=1)
        better = (scores > np.where(right, scores, -2).max(axis=1, keepdims=True)).sum(
            axis=1
        )
        least = np.quantile(top[known & (ASKED["part"] == "choosing")], 0.1)
        least = chain.config["least_score"] if way.startswith("the model") else least
        for part in ("choosing", "held out"):
            here = (ASKED["part"] == part).to_numpy()
            row = {f"recall at {k}": np.mean(better[known & here] < k) for k in (1, 5)}
            row["AUROC in or out of scope"] = roc_auc_score(known[here], top[here])
            row["answered"] = np.mean(top[known & here] >= least)
            row["out of scope refused"] = np.mean(top[~known & here] < least)
            row = {name: round(float(value), 2) for name, value in row.items()}
            tables.setdefault(f"The questions: {part}", []).append({"way": way} | row)
    return tables


def written() -> Rows:
    """The 12 questions, answered anew in both ways: what can be counted, and what was read."""
    table = []
    for way, read in READ.groupby("way"):
        counts = {"word for word": 0, "no word of its own": 0}
        for question in read["question"]:
            answer = agent(answer=way).predict(ask(question)).model_dump()
            said = flat(answer["output"][0]["content"][0]["text"])
            found = answer["custom_outputs"]["passages"].values()
            passages = flat(" ".join(passage["text"] for passage in found))
            counts["word for word"] += said in passages
            counts["no word of its own"] += {*said.split()} <= {*passages.split()}
        counts |= {
            v: int((read["verdict"] == v).sum()) for v in sorted({*READ["verdict"]})
        }
        table.append({"way": way} | counts)
    return table


def ask_often(chain: model_code.ReferenceAgent, characters: int) -> None:
    for _ in range(16):
        with suppress(
            mlflow.MlflowException
        ):  # too long: refused before it is embedded
            chain.predict(ask(("name? " * characters)[:characters]))


if __name__ == "__main__":
    mlflow.tracing.disable()
    with local_llm(), local_embeddings():
        chain, lengths = agent(), (10, 1_000, 1_000_000)
        tables = retrieval() | {
            "Answers to 12 of the unseen, read beside the passages": written()
        }
        ways = {f"{n:,} characters": partial(ask_often, chain, n) for n in lengths}
        tables["What a question costs, its embedding included"] = costs(ways)
    publish("reference_qa", tables)
