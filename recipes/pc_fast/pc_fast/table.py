"""From a table of any columns to numbers that a test can read, or why not; and edges as a table."""

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

LEVELS = 20  # whole numbers with more distinct values count as continuous
ROWS_PER_LEVEL = (
    5  # and so do those with fewer rows for each value; text is refused then
)
NUMBERS = ("integer", "floating", "mixed-integer-float")
CATEGORIES = ("string", "boolean", "categorical")


def check_table(table: pd.DataFrame) -> None:
    """Raise ValueError, naming column, row and remedy, if no test could make sense of `table`."""
    rows, columns = table.shape
    for name in table.columns:
        if not isinstance(name, str):
            raise ValueError(
                f"column name {name!r:.80} is not text; use table.columns.astype(str)"
            )
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(
            f"column {twice!r:.80} occurs more than once; drop or rename one"
        )
    if columns < 2 or rows < columns + 2:
        raise ValueError(
            f"{rows} rows x {columns} columns: give two columns or more, and more rows than "
            "columns (two more at least)"
        )
    for _, column in table.items():
        _check_column(column)


def _check_column(column: pd.Series) -> None:
    def fail(bad: Any, text: str) -> None:
        row = column.index[int(np.argmax(bad))]
        raise ValueError(f"column {column.name!r:.80}, row {row!r:.80}: {text}")

    if (missing := column.isna().to_numpy()).any():
        fail(missing, "the value is missing; drop the row or fill it in")
    kind = infer_dtype(column, skipna=False)
    if kind not in NUMBERS + CATEGORIES:
        other = [type(value) is not type(column.iloc[0]) for value in column]
        value = column.iloc[int(np.argmax(other))]
        fail(
            other,
            f"{value!r:.80} makes the column {kind}; give all numbers, all text or booleans",
        )
    if kind in NUMBERS and (infinite := np.isinf(column.to_numpy(dtype=float))).any():
        fail(infinite, "the value is infinite; drop the row or correct it")
    if (levels := column.nunique()) == 1:
        raise ValueError(f"column {column.name!r:.80} is constant; drop it")
    if kind in CATEGORIES and len(column) < ROWS_PER_LEVEL * levels:
        raise ValueError(
            f"column {column.name!r:.80} has {levels} categories in {len(column)} rows; merge rare "
            f"ones (a test needs {ROWS_PER_LEVEL} rows per category) or drop the column"
        )


def is_categorical(column: pd.Series) -> bool:
    """Return True for text, booleans and whole numbers of few distinct values (see LEVELS)."""
    if infer_dtype(column, skipna=False) not in NUMBERS:
        return True
    values = column.to_numpy(dtype=float)
    most = min(LEVELS, len(column) // ROWS_PER_LEVEL)
    return bool((values == np.round(values)).all() and column.nunique() <= most)


def choose_test(table: pd.DataFrame, test: str, bins: int) -> str:
    """Return "fisherz", "gsq" or "chisq" for the kinds of columns; ValueError if none is right.

    With `bins` continuous columns will be cut into categories, so that mixed tables can be tested.
    """
    groups: dict[bool, list[str]] = {True: [], False: []}
    for name, column in table.items():
        groups[is_categorical(column)].append(f"'{name}'")
    categorical, continuous = (", ".join(groups[kind]) for kind in (True, False))
    if test == "auto":
        if categorical and continuous and not bins:
            raise ValueError(
                f"mixed columns: {categorical:.80} categorical, {continuous:.80} continuous; "
                "Fisher's z needs continuous ones, G-square categories: pass bins=3 (cuts numbers "
                "into three equally filled classes), or leave one kind out"
            )
        return "gsq" if categorical or bins else "fisherz"
    if test == "fisherz":
        if bins:
            raise ValueError(
                f"bins={bins} makes categories, fisherz needs numbers; leave one out"
            )
        words = [
            name for name, column in table.items() if infer_dtype(column) in CATEGORIES
        ]
        if words:
            raise ValueError(
                f"test fisherz needs numbers; column {words[0]!r:.80} has categories"
            )
    elif continuous and not bins:
        raise ValueError(
            f"test {test} needs categories; {continuous:.80} continuous: pass bins=3"
        )
    return test


def encode(table: pd.DataFrame, test: str, bins: int) -> np.ndarray:
    """Return the table as float (n, p) for Fisher's z, else as category codes, int (n, p).

    Raises ValueError for columns that determine each other linearly.
    """
    if test == "fisherz":
        values = table.to_numpy(dtype=float)
        values = values / np.abs(values).max(
            axis=0
        )  # or the squares of 1e300 and 1e-300 are lost
        strength, mixes = np.linalg.eigh(np.corrcoef(values, rowvar=False))
        if strength[0] < 1e-10:
            names = table.columns[np.abs(mixes[:, 0]) > 1e-3]
            raise ValueError(
                f"columns {', '.join(map(repr, names)):.80} determine each other linearly; drop one"
            )
        return values
    codes = np.empty(table.shape, dtype=np.int64)
    for i, (name, column) in enumerate(table.items()):
        if not is_categorical(column):
            column = pd.qcut(
                column.astype(float), bins, labels=False, duplicates="drop"
            )
        codes[:, i] = pd.factorize(column)[0]
        if not codes[:, i].any():
            raise ValueError(
                f"column {name!r:.80} is nearly constant: {bins} bins leave one class"
            )
    return codes


def equal_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return for each column that says the same as an earlier one (equal, or recoded) that one.

    PC could keep neither of two such columns apart: given one, the other is independent of all.
    """
    first: dict[bytes, str] = {}
    stands: dict[str, str] = {}
    for name, column in table.items():
        says = (
            pd.factorize(column)[0]
            if is_categorical(column)
            else column.to_numpy(dtype=float)
        )
        if (other := first.setdefault(says.tobytes(), str(name))) != name:
            stands[str(name)] = other
    return stands


def edge_list(graph: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Return the edges of `graph`, bool (p, p): `from`, `to`, `type` (directed or undirected)."""
    i, j = np.nonzero(np.where(graph.T, np.triu(graph), graph))  # undirected ones once
    columns = np.array(names, dtype=object)
    kind = np.where(graph[j, i], "undirected", "directed").astype(object)
    return pd.DataFrame({"from": columns[i], "to": columns[j], "type": kind})
