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


def keys(frame: pd.DataFrame, columns: list) -> list[tuple]:
    """Return each row's cells, with None for what is missing."""
    cells = [[None if c != c else c for c in frame[name].tolist()] for name in columns]
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
    frame, response = (
        first_frame(recipe.json("request.json")),
        recipe.json("response.json"),
    )
    columns, answers = list(frame), response["predictions"]
    if not set(columns) <= set(asked) or not asked.columns.is_unique:
        return []
    found: list[tuple[Any, Any]] = []
    try:
        asked_keys, known_keys = keys(asked, columns), keys(frame, columns)
        if by_row(recipe):
            known = dict(zip(known_keys, answers, strict=True))
            pairs = zip(asked_keys, rows, strict=True)
            found = [(row, known[key]) for key, row in pairs if key in known]
        elif list(asked) == columns and asked_keys == known_keys:
            found = [(rows, answers)]
    except (TypeError, ValueError):  # a cell that has no hash, or no truth
        return []
    tolerance = response.get("tolerance", {})
    return sum([differences(said, answer, tolerance) for said, answer in found], [])
