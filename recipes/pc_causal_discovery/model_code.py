"""The PC algorithm as a model: a table of observations in, the edges of its causal graph out."""

from typing import Annotated, Any, Literal

import mlflow
import numpy as np
import pandas as pd
from causallearn.graph.GraphNode import GraphNode
from causallearn.search.ConstraintBased.PC import pc
from causallearn.utils.PCUtils.BackgroundKnowledge import BackgroundKnowledge
from mlflow.types.schema import (
    Array,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
)
from pandas.api.types import infer_dtype
from pydantic import BaseModel, Field, ValidationError


class Knowledge(BaseModel, extra="forbid"):
    tiers: list[
        list[str]
    ] = []  # from early to late: nothing late causes anything earlier
    required: list[tuple[str, str]] = []  # cause, effect
    forbidden: list[tuple[str, str]] = []


class Settings(BaseModel, extra="forbid", strict=True):
    alpha: Annotated[float, Field(gt=0, lt=1)] = (
        0.05  # an edge goes if a p-value is above
    )
    test: Literal["auto", "fisherz", "gsq", "chisq"] = "auto"
    bins: Literal[0, 2, 3, 4, 5, 6, 7, 8, 9, 10] = (
        0  # cut numbers into so many classes; 0: don't
    )
    max_k: Annotated[
        int, Field(ge=-1)
    ] = -1  # most columns to condition on; -1: any number
    knowledge: Knowledge = Knowledge()


# The columns are the caller's business, so the model's signature has none; its parameters are here.
LISTS = Array(Array(DataType.string))
KNOWN = Object([Property(part, LISTS, False) for part in Knowledge.model_fields])
KINDS: dict[str, Any] = {
    "alpha": "double",
    "test": "string",
    "bins": "long",
    "max_k": "long",
}
DEFAULTS = Settings().model_dump() | {"knowledge": {}}
PARAMS = ParamSchema(
    [ParamSpec(name, KINDS.get(name, KNOWN), DEFAULTS[name]) for name in DEFAULTS]
)


def column(cells: pd.Series, test: str, bins: int) -> np.ndarray:
    """Return numbers as float, categories as int codes, (n,); ValueError names a bad row."""
    kind, bad = infer_dtype(cells), cells.isna()
    text = kind in ("string", "boolean", "categorical")
    number = kind in ("integer", "floating", "mixed-integer-float")
    if number and not bad.any():
        bad = (
            cells.astype(object).abs() > 1e308
        )  # infinite, or an integer beyond all floats
    if bad.any() or not (text or number):
        kinds = cells.map(type).tolist()
        at = np.argmax(bad if bad.any() else [kind is not kinds[0] for kind in kinds])
        row, cell = cells.index.tolist()[at], cells.tolist()[at]
        where = f"column {cells.name!r:.80}, row {row!r:.80}: {cell!r:.80}"
        raise ValueError(f"{where}; give finite numbers in all rows, or text in all")
    codes, levels = pd.factorize(cells)
    few = len(cells) / 5  # so many categories, with five rows each on average
    if text and len(levels) > few:
        raise ValueError(
            f"column {cells.name!r:.80}: {len(levels)} categories; merge rare ones"
        )
    values = codes if text else cells.to_numpy(dtype=float)
    if text or (
        test != "fisherz" and len(levels) <= min(few, 20) and not (values % 1).any()
    ):
        return codes
    if bins:
        return pd.qcut(values, bins, labels=False, duplicates="drop")
    return values / (np.abs(values).max() or 1)  # the square of 1e300 would overflow


def read(table: pd.DataFrame, test: str, bins: int) -> tuple[np.ndarray, str]:
    """Return `table` as array (n rows, p columns) and the test for it; ValueError says why not."""
    names = list(table)
    for name in names:
        if not isinstance(name, str) or names.count(name) > 1:
            raise ValueError(
                f"column name {name!r:.80}: give each column a name of its own, text"
            )
    if len(names) < 2 or len(table) < len(names) + 2:
        raise ValueError(
            f"{len(table)} rows x {len(names)} columns: give 2 columns, 2 rows more"
        )
    columns = [column(table[name], test, bins) for name in names]
    numbers = [
        name for name, cells in zip(names, columns, strict=True) if cells.dtype == float
    ]
    if test == "auto":
        test = "fisherz" if len(numbers) == len(names) else "gsq"
    if len(numbers) != (len(names) if test == "fisherz" else 0):
        raise ValueError(
            f"test {test}: {str(numbers):.80} are numbers; drop a kind or set bins=3"
        )
    data = np.column_stack(columns)
    if not (moving := np.ptp(data, axis=0) > 0).all():
        raise ValueError(
            f"column {names[moving.argmin()]!r:.80} is constant, or nearly; drop it"
        )
    related = np.corrcoef(data, rowvar=False)
    if test != "fisherz":  # among categories only equal columns are too alike
        related = np.trunc(related * (1 + 1e-9))
    strength, mixes = np.linalg.eigh(related)
    if strength[0] < 1e-10:
        same = [names[i] for i in np.flatnonzero(np.abs(mixes[:, 0]) > 1e-3)]
        raise ValueError(f"columns {str(same):.80} determine each other; drop one")
    return data, test


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the CPDAG of `table`, n observations x p columns: `from`, `to`, `type` per edge.

    `params`: see Settings. ValueError says what is wrong. Source: Spirtes et al. 2000; Ramsey 2016.
    """
    settings, names = Settings(**params), list(table)
    data, test = read(table, settings.test, settings.bins)
    known, background = settings.knowledge, BackgroundKnowledge()
    tier_of = {
        name: tier for tier, members in enumerate(known.tiers) for name in members
    }
    if unknown := {*tier_of}.union(*known.required, *known.forbidden) - {*names}:
        raise ValueError(f"knowledge: the table has no column {min(unknown)!r:.80}")
    if len(tier_of) < sum(map(len, known.tiers)):
        raise ValueError("knowledge: a column is in two tiers")
    for name, tier in tier_of.items():
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
    arrow, line = (
        (graph == -1) & (graph.T == 1),
        np.triu((graph == -1) & (graph.T == -1)),
    )
    words = np.where(arrow, "directed", "undirected").tolist()
    edges = [(names[i], names[j], words[i][j]) for i, j in np.argwhere(arrow | line)]
    for (
        pair
    ) in known.required:  # causal-learn directs such an edge, but doesn't keep it
        if (*pair, "directed") not in edges:
            raise ValueError(
                f"knowledge: data or other knowledge rule out {pair!s:.80}"
            )
    paths = np.linalg.matrix_power(arrow | np.eye(len(names), dtype=bool), len(names))
    if loop := [names[i] for i in np.flatnonzero((arrow @ paths).diagonal())]:
        raise ValueError(
            f"directed cycle through {loop!s:.80}: lower alpha or add knowledge"
        )
    return pd.DataFrame(edges, columns=["from", "to", "type"])


class CausalDiscovery(mlflow.pyfunc.PythonModel):
    """Take any table; answer with the edges of its causal graph, see `discover`."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return the edges; MlflowException (HTTP 400) says what is wrong with the request."""
        try:
            if not isinstance(
                model_input, pd.DataFrame | dict
            ):  # REST's "inputs" is a dict
                raise ValueError(
                    "give a table: columns with names, such as dataframe_split"
                )
            return discover(pd.DataFrame(model_input), **(params or {}))
        except ValidationError as error:
            at, got, why = (error.errors()[0][part] for part in ("loc", "input", "msg"))
            said = f"{'.'.join(map(str, at)):.80}={got!r:.80}: {why}"
        except ValueError as error:
            said = str(error)
        raise mlflow.MlflowException.invalid_parameter_value(said)


mlflow.models.set_model(CausalDiscovery())
