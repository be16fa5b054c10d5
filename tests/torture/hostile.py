"""What nobody should send: values, tables, params and request bodies.

Each strategy starts from a recipe's own request, so that most of it is right and one or
two things are wrong; entirely wrong requests are drawn too.
"""

import base64
import copy
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

MEGABYTE = "x" * 1_000_000
NUMBERS = [0, -1, 1.5, -0.0, 1e300, -1e300, 1e-300, 5e-324, 2**53 + 1, 10**400]
NUMBERS += [float("nan"), float("inf"), float("-inf")]
TEXTS = [
    "", " ", "39", "3_9", "１", "1e5", "nan", "null", "true", "\x00", "\ud800",
    "é😀\u202e", "'; --",
]  # fmt: skip
JSON_VALUES: list[Any] = [
    None, True, False, *NUMBERS, *TEXTS, MEGABYTE, [], [1], {}, {"a": 1}, [[1, 2], [3]],
]  # fmt: skip
VALUES: list[Any] = [
    *JSON_VALUES, pd.NA, pd.NaT, np.True_, np.int64(2), np.float32(0.1), b"", b"\xff",
    Decimal("1.1"), Decimal("NaN"), 1 + 2j, date(2026, 1, 1), timedelta(days=1),
    datetime(2026, 1, 1, tzinfo=UTC), pd.Interval(0, 1), {1, 2}, object,
    np.array([1.0, 2.0]),
]  # fmt: skip
DTYPES = [
    "object", "bool", "boolean", "int8", "uint64", "Int64", "float16", "complex128",
    "string", "category", "datetime64[ns]", "timedelta64[ns]", "Sparse[float64]",
    "double[pyarrow]", "string[pyarrow]",
]  # fmt: skip
NAMES = ["", 0, None, ("a", "b"), "é😀", "x" * 10_000, 1.5]
EDITS = ["cell"] * 4 + ["dtype"] * 2 + ["constant", "name", "twice", "drop"]


def value(choices: list) -> st.SearchStrategy:
    """Draw a choice (a copy: some are mutable), or any number or text."""
    drawn = st.integers() | st.floats() | st.text(max_size=20)
    return st.one_of(st.sampled_from(choices).map(copy.deepcopy), drawn)


def retyped(column: pd.Series, dtype: str) -> pd.Series:
    """Return the column in another dtype, if pandas can."""
    try:
        return column.astype(dtype)  # type: ignore[call-overload]
    except Exception:  # whatever pandas or pyarrow say of this pair
        return column


def with_cells(column: pd.Series, rows: list[int], new: Any) -> pd.Series:
    """Return the column with some cells replaced, as objects."""
    fresh = column.astype(object).copy()
    for row in rows:
        fresh.array[row] = new
    return fresh


@st.composite
def tables(draw, frame: pd.DataFrame) -> pd.DataFrame:
    """Draw the frame with one to three edits of its columns, some with other rows."""
    rows = range(len(frame))
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    for edit in draw(st.lists(st.sampled_from(EDITS), min_size=1, max_size=3)):
        at = draw(st.integers(0, len(columns) - 1))
        if edit == "cell":
            row = draw(st.sampled_from(rows))
            columns[at] = with_cells(columns[at], [row], draw(value(VALUES)))
        elif edit == "constant":
            columns[at] = with_cells(columns[at], list(rows), draw(value(VALUES)))
        elif edit == "dtype":
            columns[at] = retyped(columns[at], draw(st.sampled_from(DTYPES)))
        elif edit == "name":
            columns[at] = columns[at].copy()
            columns[at].name = draw(st.sampled_from(NAMES))
        elif edit == "twice":
            columns.append(columns[at])
        elif edit == "drop" and len(columns) > 1:
            del columns[at]
    table = pd.concat(columns, axis=1)
    labels = [["a"] * len(rows), rows[::-1], [None] * len(rows), [MEGABYTE] * len(rows)]
    table = table.set_axis(draw(st.sampled_from([frame.index] * 8 + labels)), axis=0)
    return table.iloc[draw(st.sampled_from([rows] * 8 + [[], [0], [0] * 50]))]


def containers(frame: pd.DataFrame) -> st.SearchStrategy:
    """Draw what people hand to predict instead of a DataFrame."""
    some = [
        None, 1, "x", b"x", [], {}, [1, 2], {"a": 1}, object(), np.array([[1.0, 2.0]]),
        pd.Series([1, 2]), frame.to_dict("list"), frame.to_dict("records"), [frame],
        frame.to_numpy(),
    ]  # fmt: skip
    return st.sampled_from(some)


def params(known: dict) -> st.SearchStrategy:
    """Draw None, the known ones with another value, or names that nobody knows."""
    names = st.sampled_from([*known, "unknown", ""])
    wild = st.dictionaries(names, value(JSON_VALUES), max_size=2)
    mixed = wild.map(lambda some: {**known, **some})
    return st.one_of(st.none(), st.just(known), mixed)


@st.composite
def altered(draw, request: dict, choices: list) -> dict:
    """Draw the known request with a value replaced, at any depth."""
    body = copy.deepcopy(request)
    place, at = body, next(iter(body))
    while isinstance(place[at], dict | list) and place[at] and draw(st.integers(0, 9)):
        place = place[at]
        inside = list(place) if isinstance(place, dict) else range(len(place))
        at = draw(st.sampled_from(inside))
    place[at] = draw(value(choices))
    return body


FORMS = ["dataframe_split", "dataframe_records", "inputs", "instances", "unknown"]
RAW = [
    b"", b"{", b"null", b"[]", b'"x"', b"NaN", b"\xff\xfe", b'{"inputs": NaN}',
    b"[" * 100_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
]  # fmt: skip


@st.composite
def bodies(draw, request: dict) -> bytes:
    """Draw a request body, most with one value replaced."""
    kind = draw(st.sampled_from(["value"] * 6 + ["params", "shape", "text"]))
    body = copy.deepcopy(request)
    if kind == "value":
        body = draw(altered(request, JSON_VALUES))
    elif kind == "params":
        body["params"] = draw(value(JSON_VALUES) | params(request.get("params", {})))
    elif kind == "shape":
        inside = draw(value(JSON_VALUES) | st.just(next(iter(body.values()))))
        body = {draw(st.sampled_from(FORMS)): inside}
    else:
        return draw(st.sampled_from(RAW))
    return json.dumps(body).encode("utf-8", "surrogatepass")


def asks_a_table(request: dict) -> bool:
    """Tell whether a request holds a table; an agent's holds messages."""
    return "input" not in request


def first_frame(request: dict) -> pd.DataFrame:
    """Return a request's table, binary columns decoded as MLflow's server does."""
    if "dataframe_split" in request:
        frame = pd.DataFrame(**request["dataframe_split"])
    else:
        frame = pd.DataFrame(request.get("dataframe_records") or request.get("inputs"))
    if list(frame) == ["image"]:
        frame["image"] = [base64.b64decode(text) for text in frame["image"]]
    return frame
