"""What an answer must be: a row for each row, finite, and known where it is known."""

import json
from typing import Any

from shared.known_answer import differences

import pandas as pd

from tests.torture.hostile import asks_a_table, first_frame


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


def known_cell(cell: Any) -> Any:
    """Return a cell that can be looked up: None if missing, a list or so as text."""
    try:
        hash(cell)
    except TypeError:
        return repr(cell)
    return None if pd.isna(cell) else cell


def keys(frame: pd.DataFrame, columns: list) -> list[tuple]:
    """Return each row's cells as a tuple that can be looked up."""
    cells = [map(known_cell, frame[name].tolist()) for name in columns]
    return list(zip(*cells, strict=True))


def by_row(recipe) -> bool:
    """Whether each row has an answer of its own; edges are of the whole table."""
    return "from" not in recipe.json("response.json")["predictions"][0]


def check(recipe, given: object, params: object, answer: Any) -> None:
    """Raise AssertionError unless the answer is one that this input may have."""
    request = recipe.json("request.json")
    if not asks_a_table(request):
        json.dumps(answer, allow_nan=False)
        (message,) = answer["output"]
        assert message["content"][0]["text"]
        return
    rows = answer.to_dict("records") if isinstance(answer, pd.DataFrame) else answer
    json.dumps(rows, allow_nan=False, default=str)
    asked = table(given)
    if asked is None:
        return
    if by_row(recipe):
        assert len(rows) == len(asked)
        assert asked is not given or answer.index.equals(asked.index)
    # The known answers of those that run with a service are a language model's.
    usual = (params or {}) == request.get("params", {})
    if usual and not recipe.front_matter.get("runs_with"):
        assert unlike_known(recipe, asked, rows) == []


def unlike_known(recipe, asked: pd.DataFrame, rows: list[dict]) -> list[str]:
    """Return where rows of the known request are answered in another way."""
    frame = first_frame(recipe.json("request.json"))
    response = recipe.json("response.json")
    columns, answers = list(frame), response["predictions"]
    if not set(columns) <= set(asked) or not asked.columns.is_unique:
        return []
    pairs: list[tuple[Any, Any]] = []
    asked_keys, known_keys = keys(asked, columns), keys(frame, columns)
    if by_row(recipe):
        known = dict(zip(known_keys, answers, strict=True))
        for key, row in zip(asked_keys, rows, strict=True):
            if key in known:
                pairs.append((row, known[key]))
    elif list(asked) == columns and asked_keys == known_keys:
        pairs = [(rows, answers)]
    tolerance = response.get("tolerance", {})
    return sum([differences(row, answer, tolerance) for row, answer in pairs], [])
