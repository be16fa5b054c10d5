"""From a table of any columns to numbers that a test can read, or why not."""

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

LEVELS = 20  # whole numbers with more distinct values count as continuous
ROWS_PER_LEVEL = 5  # with fewer they do too, and text is refused
NUMBERS = ("integer", "floating", "mixed-integer-float")
CATEGORIES = ("string", "boolean", "categorical")


def check_table(table: pd.DataFrame) -> None:
    """Refuse a table that no test can read; ValueError names column, row and remedy."""
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
            f"{rows} rows x {columns} columns: give two columns or more, and at least "
            "two rows more than columns"
        )
    for _, column in table.items():
        check_column(column)


def check_column(column: pd.Series) -> None:
    """Refuse gaps, mixed kinds, infinite numbers, constants, too many categories."""
    refuse(column, column.isna(), "the value is missing; drop the row or fill it in")
    kind = infer_dtype(column, skipna=False)
    if kind not in NUMBERS + CATEGORIES:
        types = column.map(type)
        other = types != types.iloc[0]
        value = column.iloc[int(np.argmax(other))]
        remedy = "give all numbers, all text or booleans"
        refuse(column, other, f"{value!r:.80} makes the column {kind}; {remedy}")
        raise ValueError(f"column {column.name!r:.80} is of {kind}; {remedy}")
    levels = column.nunique()
    if levels == 1:
        raise ValueError(f"column {column.name!r:.80} is constant; drop it")
    if kind in NUMBERS:
        too_large = column.abs() > 1e308  # or an infinite one
        refuse(column, too_large, "the value is infinite; drop the row or correct it")
    elif len(column) < ROWS_PER_LEVEL * levels:
        raise ValueError(
            f"column {column.name!r:.80} has {levels} categories in {len(column)} "
            f"rows; merge rare ones (a test needs {ROWS_PER_LEVEL} rows per category)"
        )


def refuse(column: pd.Series, bad: pd.Series, text: str) -> None:
    """Raise ValueError for the first bad row, if there is one."""
    if bad.any():
        row = column.index.tolist()[int(np.argmax(bad))]
        raise ValueError(f"column {column.name!r:.80}, row {row!r:.80}: {text}")


def is_categorical(column: pd.Series) -> bool:
    """Return True for text, booleans and whole numbers of few distinct values."""
    if infer_dtype(column, skipna=False) not in NUMBERS:
        return True
    values = column.to_numpy(dtype=float)
    if (values != np.round(values)).any():
        return False
    return column.nunique() <= min(LEVELS, len(column) // ROWS_PER_LEVEL)


def choose_test(table: pd.DataFrame, test: str) -> str:
    """Return "fisherz", "gsq" or "chisq"; ValueError if it isn't for all columns."""
    categorical: list[str] = []
    continuous: list[str] = []
    for name, column in table.items():
        kind = categorical if is_categorical(column) else continuous
        kind.append(str(name))
    if test == "auto" and categorical and continuous:
        raise ValueError(
            f"mixed columns: {str(categorical):.80} are categorical, "
            f"{str(continuous):.80} continuous; leave one kind out"
        )
    if test == "auto":
        return "gsq" if categorical else "fisherz"
    if test == "fisherz":
        check_numbers(table)
    elif continuous:
        raise ValueError(
            f"test {test} needs categories; {str(continuous):.80} are continuous: "
            "leave them out, or the others and set test=fisherz"
        )
    return test


def check_numbers(table: pd.DataFrame) -> None:
    """Refuse text and booleans for Fisher's z."""
    words = [name for name in table if infer_dtype(table[name]) in CATEGORIES]
    if words:
        raise ValueError(
            f"test fisherz needs numbers; {str(words):.80} are text or booleans: leave "
            "them out"
        )


def encode(table: pd.DataFrame, test: str) -> np.ndarray:
    """Return the table as float (n, p) for Fisher's z, else as codes, int (n, p)."""
    if test != "fisherz":
        codes = [pd.factorize(column)[0] for _, column in table.items()]
        return np.column_stack(codes)
    values = table.to_numpy(dtype=float)
    values = values / np.abs(values).max(axis=0)  # the square of 1e300 would overflow
    check_determined(values, table.columns.tolist())
    return values


def check_determined(values: np.ndarray, names: list[str]) -> None:
    """Refuse columns that determine each other linearly."""
    strengths, mixes = np.linalg.eigh(np.corrcoef(values, rowvar=False))
    if strengths[0] < 1e-10:  # a weighted sum of columns that is constant
        weights = np.abs(mixes[:, 0])
        together = [names[i] for i in np.flatnonzero(weights > 1e-3)]
        raise ValueError(
            f"columns {str(together):.80} determine each other linearly; drop one"
        )


def equal_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return each column that says the same as an earlier one, and that one.

    They are equal, or one is the other recoded. PC could keep neither of the two: given
    one, the other is independent of all.
    """
    earlier: dict[bytes, str] = {}
    equal = {}
    for name, column in table.items():
        if is_categorical(column):
            content = pd.factorize(column)[0].tobytes()
        else:
            content = column.to_numpy(dtype=float).tobytes()
        if content in earlier:
            equal[str(name)] = earlier[content]
        else:
            earlier[content] = str(name)
    return equal


def edge_list(graph: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """Return the edges of `graph`, bool (p, p): `from`, `to`, `type` of each."""
    edges = []
    for i, j in np.argwhere(graph).tolist():
        edge = {"from": names[i], "to": names[j]}
        if not graph[j, i]:
            edges.append(edge | {"type": "directed"})
        elif i < j:
            edges.append(edge | {"type": "undirected"})
    return edges
