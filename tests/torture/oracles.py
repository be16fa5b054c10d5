"""What an answer must be, without the recipe's code."""

import math
import re
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import Any

from shared.known_answer import differences

import numpy as np
import pandas as pd

from tests.torture.hostile import asks_a_table, first_frame


def number(value: object) -> float | None:
    """Return a cell as a number; None if it is none (text, a boolean, missing)."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    return None if math.isnan(value) else float(value)


def table(given: object) -> pd.DataFrame | None:
    """Return what was asked as a table, None where MLflow has a reading of its own."""
    if isinstance(given, pd.DataFrame):
        return given
    if isinstance(given, dict) and "dataframe_split" in given:
        split = given["dataframe_split"]
        return pd.DataFrame(split["data"], columns=split["columns"], dtype=object)
    if isinstance(given, dict) and "dataframe_records" in given:
        return pd.DataFrame(given["dataframe_records"], dtype=object)
    return None


def circle_area(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    for value, row in zip(asked["diameter"].tolist(), rows, strict=True):
        diameter = number(value)
        assert diameter is not None and 0 <= diameter <= 1e9
        area = math.pi * (diameter / 2) ** 2
        assert math.isclose(row["area"], area, rel_tol=1e-14, abs_tol=0)


def clv_composite(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    for row in rows:
        assert min(row["clv"], row["expected_purchases"], row["aov"]) >= 0
        product = row["aov"] * row["expected_purchases"]
        assert math.isclose(row["clv"], product, rel_tol=1e-9)
        assert 0 <= row["p_return"] <= 1 and row["horizon_weeks"] > 0


def canny_edge_qc(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    for row in rows:
        bad = row["defect_score"] > 1 or row["reason"] != "largest edge"
        assert row["verdict"] == ("fail" if bad else "pass")
        numbers = ("defect_score", "x", "y", "width", "height")
        assert min(row[name] for name in numbers) >= 0


def label_reader(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    for row in rows:
        assert 0 <= row["confidence"] <= 1
        assert (row["code"] == "unread") == (row["reason"] != "read")
        if row["reason"] == "read":
            assert re.fullmatch(r"[A-Z]{3}-[0-9]{6}", row["code"])
            assert row["confidence"] >= 0.95


def edges(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    pairs = [frozenset((row["from"], row["to"])) for row in rows]
    assert len(set(pairs)) == len(pairs) and all(len(pair) == 2 for pair in pairs)
    assert set().union(*pairs) <= set(asked.columns)


def feedback(asked: pd.DataFrame, params: Any, rows: list[dict]) -> None:
    """The stand-in says "positive", and as price the number that stands in the text."""
    for text, row in zip(asked["text"], rows, strict=True):
        good = isinstance(text, str) and text.strip() and len(text) <= 4000
        if not good or re.search("[\ud800-\udfff]", text):
            assert row["error"] == "InvalidInput" and row["sentiment"] is None
        elif row["error"] is None:
            said = re.search(r"\d{1,9}", text)
            assert row["sentiment"] == "positive" and row["product"] is None
            assert row["price"] in (None, float(said[0]) if said else None)
        else:
            assert row["error"] in ("DryRun", "DeadlineExceeded"), row


def agent(answer: dict[str, Any]) -> None:
    """What is cited was retrieved; what cites nothing is a refusal. The desk says
    something, and whether it waits."""
    (message,) = answer["output"]
    (content,) = message["content"]
    assert isinstance(content["text"], str) and content["text"]
    if "waits_for_reply" in answer["custom_outputs"]:
        asks = content["text"].endswith(("yes or no.", "list.", "dollars?"))
        assert answer["custom_outputs"]["waits_for_reply"] == asks
        return
    entries = {entry["id"] for entry in answer["custom_outputs"]["entries"]}
    assert {note["title"] for note in content["annotations"]} <= entries


ORACLES = {
    "circle_area": circle_area,
    "clv_composite": clv_composite,
    "canny_edge_qc": canny_edge_qc,
    "label_reader": label_reader,
    "pc_causal_discovery": edges,
    "pc_fast": edges,
    "openai_call": feedback,
    "openai_batch": feedback,
}


@cache
def known(recipe) -> tuple[list[str], Any, Any]:
    """Return the columns, answers and params of the recipe's known request.

    Where the rows are one table, there is one answer, to all of them.
    """
    request, response = recipe.json("request.json"), recipe.json("response.json")
    frame, answers = first_frame(request), response["predictions"]
    rows = keys(frame, frame.columns.tolist())
    tolerance = response.get("tolerance", {})
    whole = {} if by_row(recipe) else {tuple(rows): graph(answers)}
    found = dict(zip(rows, answers, strict=True)) if by_row(recipe) else whole
    return frame.columns.tolist(), found, (request.get("params") or {}, tolerance)


def graph(edges: list[dict]) -> list[dict]:
    """Return the edges in one order."""
    found = []
    for edge in edges:
        ends = [edge["from"], edge["to"]]
        ends = sorted(ends) if edge["type"] == "undirected" else ends
        found.append({**edge, "from": ends[0], "to": ends[1]})
    return sorted(found, key=lambda edge: (edge["from"], edge["to"]))


def by_row(recipe) -> bool:
    return ORACLES.get(recipe.name) is not edges


def keys(frame: pd.DataFrame, columns: list[str]) -> list[tuple]:
    """Return each row's cells, with None for what is missing."""
    cells = [[None if c != c else c for c in frame[name].tolist()] for name in columns]
    return list(zip(*cells, strict=True))


def check(recipe, given: object, params: object, answer: Any) -> None:
    """Raise AssertionError unless the answer is one that this input may have."""
    if not asks_a_table(recipe.json("request.json")):
        return agent(answer)
    asked = table(given)
    if isinstance(given, pd.DataFrame) and isinstance(answer, pd.DataFrame):
        in_place = answer.index.equals(given.index)
        assert in_place or not by_row(recipe), "not under the labels of the rows"
    rows = answer.to_dict("records") if isinstance(answer, pd.DataFrame) else answer
    for row in rows:
        for value in row.values():
            assert not isinstance(value, float) or math.isfinite(value), row
    if asked is None or isinstance(asked.columns, pd.MultiIndex):
        return
    assert not by_row(recipe) or len(rows) == len(asked)
    if recipe.name in ORACLES:
        ORACLES[recipe.name](asked, params, rows)
    # The known answers to feedback are a language model's.
    if ORACLES.get(recipe.name) is not feedback:
        assert as_known(recipe, asked, params, rows) == []


def as_known(
    recipe, asked: pd.DataFrame, params: object, rows: list[dict]
) -> list[str]:
    """Return where rows of the known request are answered in another way."""
    columns, answers, (usual, tolerance) = known(recipe)
    if not set(columns) <= set(asked.columns) or not asked.columns.is_unique:
        return []
    if (params or {}) != usual:
        return []
    if not by_row(recipe) and len(columns) < asked.shape[1]:
        return []
    try:
        asked_rows = keys(asked, columns)
        pairs: list[Any] = list(zip(asked_rows, rows, strict=False))
        if not by_row(recipe):
            pairs = [(tuple(asked_rows), graph(rows))]
        pairs = [(key, said) for key, said in pairs if key in answers]
    except (TypeError, ValueError):  # a cell that has no hash, or no truth
        return []
    found = [differences(said, answers[key], tolerance) for key, said in pairs]
    return sum(found, [])
