"""Find the edges of a table's causal graph with the PC algorithm, and how sure each is.

The driver logs this file by its path, with the folder `pc_fast` beside it: MLflow
stores both and runs this file at each load. The last line names the model.
"""

from typing import Annotated, Any, Literal

import mlflow
import numpy as np
import pandas as pd
from mlflow.types.schema import (
    Array,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
)
from pc_fast.independence import ChiSquare, ConditionalTest, FisherZ, GSquare
from pc_fast.knowledge import Knowledge, check_directions, read_knowledge
from pc_fast.orientation import meek, orient_by_knowledge, orient_colliders
from pc_fast.skeleton import Separators, skeleton
from pc_fast.table import check_table, choose_test, edge_list, encode, equal_columns
from pydantic import BaseModel, Field, ValidationError
from tqdm.auto import tqdm

TESTS: dict[str, Any] = {"fisherz": FisherZ, "gsq": GSquare, "chisq": ChiSquare}


class Settings(BaseModel, extra="forbid", strict=True):
    """The parameters of a request."""

    # An edge is removed if the p-value of any test exceeds alpha.
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    # auto: Fisher's z for numbers, G-square for categories
    test: Literal["auto", "fisherz", "gsq", "chisq"] = "auto"
    # tiers, required and forbidden edges
    knowledge: Knowledge = Knowledge()
    # when x - y - z becomes a collider x -> y <- z:
    # maxp: the highest p-value of x and z is lower given y than not given y
    # confirmed: that, and the p-value given y is below alpha
    orientation: Literal["confirmed", "maxp"] = "confirmed"
    # most columns to condition on; -1: any number
    max_k: Annotated[int, Field(ge=-1)] = -1
    # also list the pairs without an edge, each with the columns that separate it
    separating_sets: bool = False
    # number of resamples for the confidence of each edge; 0: none
    bootstrap: Annotated[int, Field(ge=0, le=10_000)] = 0
    # seed of the random numbers that draw the resamples
    seed: Annotated[int, Field(ge=0)] = 0


# The same parameters in MLflow's types: driver.py puts PARAMS into the signature. The
# signature has no input columns, because a request may bring any table.
DEFAULT = Settings()
NAMES = Array(Array(DataType.string))
KNOWLEDGE = Object(
    [
        Property("tiers", NAMES, required=False),
        Property("required", NAMES, required=False),
        Property("forbidden", NAMES, required=False),
    ]
)
PARAMS = ParamSchema(
    [
        ParamSpec("alpha", "double", DEFAULT.alpha),
        ParamSpec("test", "string", DEFAULT.test),
        ParamSpec("knowledge", KNOWLEDGE, {}),
        ParamSpec("orientation", "string", DEFAULT.orientation),
        ParamSpec("max_k", "long", DEFAULT.max_k),
        ParamSpec("separating_sets", "boolean", DEFAULT.separating_sets),
        ParamSpec("bootstrap", "long", DEFAULT.bootstrap),
        ParamSpec("seed", "long", DEFAULT.seed),
    ]
)


def find_graph(
    test: ConditionalTest, settings: Settings, names: list[str]
) -> tuple[np.ndarray, Separators]:
    """Return the graph, and the columns that separate each pair without an edge.

    The graph of p columns is a bool array, shape (p, p):
    graph[i, j] alone is the edge i -> j; with graph[j, i] it is the undirected i - j.
    """
    # A required edge forbids its reverse.
    forbidden, required = read_knowledge(settings.knowledge, names)
    max_k = len(names) if settings.max_k == -1 else settings.max_k

    # 1. The skeleton: start with all edges but those that are forbidden both ways, and
    # remove the edges between independent columns.
    possible = ~(forbidden & forbidden.T)
    np.fill_diagonal(possible, False)
    keep = required | required.T
    adjacent, separators = skeleton(test, settings.alpha, possible, keep, max_k)

    # 2. Directions that are known beforehand.
    graph = orient_by_knowledge(adjacent, forbidden)
    check_directions(graph, names)

    # 3. Colliders x -> y <- z, which show in the data.
    confirm_at = settings.alpha if settings.orientation == "confirmed" else None
    most_given = max(max_k, 1)  # these tests are given y, so one column at least
    graph = orient_colliders(graph, test, forbidden, most_given, confirm_at)

    # 4. Directions that follow from the others.
    return meek(graph, forbidden), separators


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the edges of the causal graph behind `table`: `from`, `to` and `type`.

    `table` has a row per observation; `params` are the fields of Settings. The types:

    - "directed"
    - "undirected": the data leave the direction open
    - "equal": column `to` is column `from`, perhaps in other codes; it was left out of
      the search
    - "separated": a pair without an edge, with the columns that separate it; listed if
      `separating_sets` is set

    `bootstrap` adds the columns `confidence` and `adjacency`. Source: Spirtes, Glymour
    & Scheines 2000.
    """
    settings = Settings(**params)
    check_table(table)
    equal = equal_columns(table)  # a column to drop -> the earlier one that it equals
    check_distinct(table, equal, settings.knowledge)
    table = table.drop(columns=list(equal))
    check_bootstrap(table, settings.bootstrap)
    names = table.columns.tolist()

    test_name = choose_test(table, settings.test)
    data = encode(table, test_name)
    test_class = TESTS[test_name]
    graph, separators = find_graph(test_class(data), settings, names)

    edges = edge_list(graph, names)
    columns = ["from", "to", "type"]
    if settings.bootstrap:
        add_confidence(edges, graph, data, test_class, settings, names)
        columns += ["confidence", "adjacency"]
    if settings.separating_sets:
        edges += separated_pairs(separators, names)
        columns += ["separating_set"]
    for name, earlier in equal.items():
        edges.append({"from": earlier, "to": name, "type": "equal"})
    answer = pd.DataFrame(edges, columns=columns)
    if answer.isna().any(axis=None):
        # What a row lacks, such as the confidence of a separated pair, is null in JSON.
        answer = answer.astype(object).where(answer.notna(), None)
    return answer


def add_confidence(
    edges: list[dict[str, Any]],
    graph: np.ndarray,
    data: np.ndarray,
    test_class: type[ConditionalTest],
    settings: Settings,
    names: list[str],
) -> None:
    """Give each edge its `confidence` and its `adjacency`.

    `confidence` is the share of resamples with this very edge, `adjacency` the share
    with any edge between the two columns.
    """
    random = np.random.default_rng(settings.seed)
    same = np.zeros(graph.shape)  # how many resamples have the same edge
    adjacent = np.zeros(graph.shape)
    resamples = range(settings.bootstrap)
    for _ in tqdm(resamples, "bootstrap", disable=None):  # None: only on a terminal
        rows = random.integers(len(data), size=len(data))
        resampled, _ = find_graph(test_class(data[rows]), settings, names)
        same += (resampled == graph) & (resampled.T == graph.T)
        adjacent += resampled | resampled.T
    for edge in edges:
        i = names.index(edge["from"])
        j = names.index(edge["to"])
        edge["confidence"] = same[i, j] / settings.bootstrap
        edge["adjacency"] = adjacent[i, j] / settings.bootstrap


def separated_pairs(separators: Separators, names: list[str]) -> list[dict[str, Any]]:
    """Return a row for each pair without an edge, with the columns that separate it."""
    rows = []
    for pair, given in separators.items():
        x, y = sorted(pair)
        row: dict[str, Any] = {"from": names[x], "to": names[y], "type": "separated"}
        row["separating_set"] = [names[i] for i in given]
        rows.append(row)
    return rows


class CausalDiscovery(mlflow.pyfunc.PythonModel):
    """Take any table; answer with the edges of its causal graph, see `discover`."""

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the edges; bad input is an MlflowException (HTTP 400)."""
        try:
            return discover(as_table(model_input), **(params or {}))
        except ValueError as error:
            message = describe(error)
            raise mlflow.MlflowException.invalid_parameter_value(message) from None


# The checks that the package doesn't make. Each raises ValueError with what to do.


def as_table(model_input: Any) -> pd.DataFrame:
    """Return the request's table: a REST request's "inputs" are a dict of arrays."""
    if not isinstance(model_input, pd.DataFrame | dict):
        raise ValueError("give a table: columns with names, such as dataframe_split")
    return pd.DataFrame(model_input)


def describe(error: ValueError) -> str:
    """Return the error's message; of several by pydantic, the first one."""
    if not isinstance(error, ValidationError):
        return str(error)
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    return f"{name:.80}={fault['input']!r:.80}: {fault['msg']}"


def check_distinct(
    table: pd.DataFrame, equal: dict[str, str], knowledge: Knowledge
) -> None:
    """Refuse a table of equal columns, and knowledge of a column that was left out."""
    if len(equal) == table.shape[1] - 1:
        raise ValueError("all columns say the same; give two that differ")
    for name in knowledge.columns():
        if name in equal:
            raise ValueError(
                f"knowledge: column {name!r:.80} says the same as {equal[name]!r:.80}; "
                "name that one"
            )


def check_bootstrap(table: pd.DataFrame, resamples: int) -> None:
    """Refuse to resample few rows: a resample has about 63 % of them, some repeated."""
    rows, columns = table.shape
    if resamples and rows < 3 * columns:
        raise ValueError(
            f"bootstrap={resamples}: {rows} rows are too few; give {3 * columns}"
        )


mlflow.models.set_model(CausalDiscovery())
