"""The PC algorithm as a model: a table of observations in, the edges of its causal graph out."""

from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

import mlflow
import numpy as np
import pandas as pd
from causallearn.graph.GraphNode import GraphNode
from causallearn.search.ConstraintBased.PC import pc
from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge
from mlflow.types.schema import Array, DataType, Object, ParamSchema, ParamSpec, Property
from pandas.api.types import infer_dtype
from pydantic import BaseModel, Field, ValidationError

NUMBERS = ("integer", "floating", "mixed-integer-float")
CATEGORIES = ("string", "boolean", "categorical")
LEVELS, ROWS_PER_LEVEL = 20, 5  # whole numbers are categories: so few values, so many rows of each
Pair = Annotated[list[str], Field(min_length=2, max_length=2)]  # cause, effect


class Knowledge(BaseModel, extra="forbid", strict=True):
    tiers: list[list[str]] = []  # from early to late: nothing late causes anything earlier
    required: list[Pair] = []
    forbidden: list[Pair] = []


class Settings(BaseModel, extra="forbid", strict=True):
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05  # an edge goes if a p-value is above
    test: Literal["auto", "fisherz", "gsq", "chisq"] = "auto"
    bins: Literal[0, 2, 3, 4, 5, 6, 7, 8, 9, 10] = 0  # cut numbers into so many classes; 0: don't
    max_k: Annotated[int, Field(ge=-1)] = -1  # most columns to condition on; -1: any number
    knowledge: Knowledge = Knowledge()


# The columns are the caller's business, so the model's signature has none; its parameters are here.
LISTS = Array(Array(DataType.string))
KNOWN = Object([Property(part, LISTS, False) for part in Knowledge.model_fields])
KINDS: dict[str, str | Object] = {
    "alpha": "double",
    "test": "string",
    "bins": "long",
    "max_k": "long",
    "knowledge": KNOWN,
}
DEFAULTS = Settings().model_dump() | {"knowledge": {}}
PARAMS = ParamSchema([ParamSpec(name, kind, DEFAULTS[name]) for name, kind in KINDS.items()])


def read(table: pd.DataFrame, test: str, bins: int) -> tuple[str, np.ndarray]:
    """Return the test that fits the columns, and the columns as it reads them, (n rows, p columns).

    float for Fisher's z, category codes for the others. ValueError names column, row and remedy.
    """
    rows, names = len(table), list(table)
    for name in names:
        if not isinstance(name, str) or names.count(name) > 1:
            raise ValueError(f"column name {name!r:.80}: give each column a name of its own, text")
    if len(names) < 2 or rows < len(names) + 2:
        raise ValueError(f"{rows} rows x {len(names)} columns: give 2 columns or more, more rows")
    cells = {name: column(table[name]) for name in names}
    numbers = [name for name in names if cells[name].dtype == float]
    if test == "auto":
        test = "fisherz" if len(numbers) == len(names) and not bins else "gsq"
    if (len(numbers) < len(names)) if test == "fisherz" else (numbers and not bins):
        raise ValueError(
            f"test {test}: {str(numbers):.80} hold numbers, the other columns categories; fisherz "
            "needs numbers, gsq and chisq categories: leave one kind out, or cut numbers by bins=3"
        )
    for name in numbers:
        if test == "fisherz":
            cells[name] = cells[name] / np.abs(cells[name]).max()  # the square of 1e300 overflows
        else:
            cells[name] = pd.qcut(cells[name], bins, labels=False, duplicates="drop")
    data = np.column_stack(list(cells.values()))
    if not (moving := np.ptp(data, axis=0) > 0).all():
        raise ValueError(f"column {names[moving.argmin()]!r:.80} is constant, or nearly; drop it")
    related = np.corrcoef(data, rowvar=False)
    if test != "fisherz":  # among categories only equal columns are too alike
        related = np.trunc(related * (1 + 1e-9))
    strength, mixes = np.linalg.eigh(related)
    if strength[0] < 1e-10:
        same = [names[i] for i in np.flatnonzero(np.abs(mixes[:, 0]) > 1e-3)]
        raise ValueError(f"columns {str(same):.80} determine each other; drop one")
    return test, data


def column(cells: pd.Series) -> np.ndarray:
    """Return numbers as float (n,), categories as codes, int (n,); ValueError names a bad row."""

    def refuse(bad: np.ndarray, why: str) -> None:
        if bad.any():
            label, cell = cells.index.tolist()[bad.argmax()], cells.iloc[int(bad.argmax())]
            raise ValueError(f"column {cells.name!r:.80}, row {label!r:.80}: {cell!r:.80} {why}")

    refuse(cells.isna().to_numpy(), "is missing; drop the row or fill it in")
    kind = infer_dtype(cells, skipna=False)
    if kind not in NUMBERS + CATEGORIES:
        other = np.array([type(cell) is not type(cells.iloc[0]) for cell in cells])
        refuse(other if other.any() else ~other, "among others: give all numbers or all text")
    codes, levels = pd.factorize(cells)
    few = len(levels) == 1 or len(levels) * ROWS_PER_LEVEL <= len(cells)
    if kind in CATEGORIES:
        refuse(
            np.full(len(cells), not few), f"and others: {ROWS_PER_LEVEL} rows per category needed"
        )
        return codes.astype(int)
    values = cells.to_numpy(dtype=float)
    refuse(np.isinf(values), "is infinite; drop the row or correct it")
    whole = few and len(levels) <= LEVELS and (values == np.round(values)).all()
    return codes.astype(int) if whole else values


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the CPDAG of `table`, n observations x p columns: `from`, `to`, `type` per edge.

    `type` is "directed" or "undirected"; `params` are those of Settings. ValueError says what is
    wrong with the table or the parameters. Source: Spirtes, Glymour & Scheines 2000; Ramsey 2016.
    """
    settings, names = Settings(**params), list(table)
    test, data = read(table, settings.test, settings.bins)
    known, background = settings.knowledge, BackgroundKnowledge()
    if unknown := set().union(*known.tiers, *known.required, *known.forbidden) - {*names}:
        raise ValueError(f"knowledge: the table has no column {min(unknown)!r:.80}")
    for tier, members in enumerate(known.tiers):
        for name in members:
            background.add_node_to_tier(GraphNode(name), tier)
    for pair in known.forbidden:
        background.add_forbidden_by_node(*map(GraphNode, pair))
    for pair in known.required:
        background.add_required_by_node(*map(GraphNode, pair))
    graph = pc(
        data,
        settings.alpha,
        test,
        uc_rule=1,  # maxP: no single borderline test decides on a collider
        uc_priority=3,  # the strongest colliders first
        background_knowledge=background,
        max_k=None if settings.max_k < 0 else settings.max_k,
        node_names=names,
        show_progress=False,
    ).G.graph
    # graph[i, j] is the mark at i of the edge between i and j: -1 a tail, 1 an arrowhead
    arrow, line = (graph == -1) & (graph.T == 1), np.triu((graph == -1) & (graph.T == -1))
    edges = [(names[i], names[j], arrow[i, j]) for i, j in np.argwhere(arrow | line)]
    for cause, effect in known.required:  # causal-learn directs it, but doesn't keep it
        if (cause, effect, True) not in edges:
            ruled = f"{cause!r:.80} -> {effect!r:.80}"
            raise ValueError(f"knowledge: data or other knowledge rule out the required {ruled}")
    try:
        causes = {name: [a for a, b, way in edges if way and b == name] for name in names}
        TopologicalSorter(causes).prepare()
    except CycleError as error:  # contradictory tests
        loop = " -> ".join(error.args[1])
        raise ValueError(f"directed cycle {loop:.80}: lower alpha or add knowledge") from None
    rows = [(a, b, "directed" if way else "undirected") for a, b, way in edges]
    return pd.DataFrame(rows, columns=["from", "to", "type"])


class CausalDiscovery(mlflow.pyfunc.PythonModel):
    """Take any table; answer with the edges of its causal graph, see `discover`."""

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the edges; MlflowException (HTTP 400) says what is wrong with the request."""
        try:
            if not isinstance(model_input, pd.DataFrame | dict):  # REST's "inputs" is a dict
                raise ValueError("give a table: columns with names, such as dataframe_split")
            return discover(pd.DataFrame(model_input), **(params or {}))
        except ValidationError as error:
            at, got, why = (error.errors()[0][part] for part in ("loc", "input", "msg"))
            said = f"{'.'.join(map(str, at)):.80}={got!r:.80}: {why}"
        except (ValueError, OverflowError) as error:  # an int beyond 1e308 makes the latter
            said = str(error)
        raise mlflow.MlflowException.invalid_parameter_value(said)


mlflow.models.set_model(CausalDiscovery())
