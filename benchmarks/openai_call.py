"""Measure openai_call: how well the local model reads labelled lines."""

from types import SimpleNamespace
from unittest.mock import patch

from shared.local_llm import local_llm
from shared.recipes import ROOT

import pandas as pd
from scipy.stats import binomtest

from benchmarks.report import Rows, publish
from recipes.openai_call import driver, model_code

SETTINGS = driver.SETTINGS | {"row_seconds": 3600}  # the machine may be busy
MODEL = model_code.FeedbackReader()
MODEL.load_context(SimpleNamespace(model_config=SETTINGS))
PARTS = {  # of the labelled lines, by their column `part`
    "held out": "held out: no part in any choice",
    "read": "looked at while the prompt was changed",
    "prompt": "the prompt was written with them",
}


def share(right: pd.Series) -> str:
    """Return a count of right answers with the 95 % interval of their share."""
    test = binomtest(int(right.sum()), len(right))
    low, high = test.proportion_ci(method="wilson")
    return f"{right.sum()} of {len(right)} ({low * 100:.0f}-{high * 100:.0f} %)"


def right_answers(answer: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Return, for product, price and sentiment, how many labelled lines are right."""
    counts = {}
    for name in ("product", "price", "sentiment"):
        labelled = labels[name].notna()
        counts[name] = share((answer[name] == labels[name])[labelled])
    return counts


def quality() -> dict[str, Rows]:
    """Return the tables of the labelled lines, those with no part in a choice first."""
    labels = pd.read_csv(ROOT / "benchmarks" / "openai_call.csv")
    print(f"{len(labels)} lines", flush=True)
    answer = MODEL.predict(None, labels[["text"]])
    lines = []
    for part, title in PARTS.items():
        chosen = labels["part"] == part
        lines.append({"lines": title} | right_answers(answer[chosen], labels[chosen]))

    held_out = labels[labels["part"] == "held out"]
    with patch.object(model_code, "EXAMPLES", []):
        bare = MODEL.predict(None, held_out[["text"]]).set_axis(held_out.index)
    ways = {"as logged": answer.loc[held_out.index], "without the two examples": bare}
    worth = [
        {"20 lines held out": way} | right_answers(said, held_out)
        for way, said in ways.items()
    ]

    priceless = answer[labels["price"].isna()]
    made_up = priceless["made_up"].fillna("").str.contains("price")
    said_null = priceless["price"].isna() & priceless["error"].isna() & ~made_up
    cases = {
        "the service made one up": made_up,
        "it said null": said_null,
        "a price came through": priceless["price"].notna(),
    }
    title = f"{len(priceless)} lines without a price"
    return {
        "Right answers of the local model, with 95 % intervals": lines,
        "What the examples are worth": worth,
        "Prices where there are none": [
            {title: case, "lines": int(rows.sum())} for case, rows in cases.items()
        ],
    }


if __name__ == "__main__":
    with local_llm():
        publish("openai_call", quality())
