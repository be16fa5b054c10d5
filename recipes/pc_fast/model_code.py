"""Find the edges of a table's causal graph with the PC algorithm, and how sure each is.

The driver logs this file by its path, with the package `pc_fast` beside it; MLflow
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
    # An edge is removed if any test's p-value exceeds alpha.
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    # auto: Fisher's z for numbers, G-square for categories
    test: Literal["auto", "fisherz", "gsq", "chisq"] = "auto"
    # tiers, required and forbidden edges
    knowledge: Knowledge = Knowledge()
    # how colliders are recognized; maxp is causal-learn's rule
    orientation: Literal["confirmed", "maxp"] = "confirmed"
    # most columns to condition on; -1: any number
    max_k: Annotated[int, Field(ge=-1)] = -1
    # also list the pairs that aren't adjacent, each with the columns that separate it
    separating_sets: bool = False
    # number of resamples for the confidence of each edge; 0: none
    bootstrap: Annotated[int, Field(ge=0, le=10_000)] = 0
    # of the resamples
    seed: Annotated[int, Field(ge=0)] = 0


# A table may have any columns, so the model's signature has parameters and no inputs.
DEFAULT = Settings()
NAMES = Array(Array(DataType.string))
KNOWLEDGE = Object([Property(part, NAMES, False) for part in Knowledge.model_fields])
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
    """Return the graph, bool (p, p), and a separating set for each separated pair.

    graph[i, j] without graph[j, i] is the edge i -> j, both are the undirected i - j.
    """
    forbidden, required = read_knowledge(settings.knowledge, names)
    largest = len(names) if settings.max_k == -1 else settings.max_k

    # 1. The skeleton: start with all edges, remove those between independent columns.
    possible = ~(forbidden & forbidden.T) & ~np.eye(len(names), dtype=bool)
    keep = required | required.T
    adjacent, separators = skeleton(test, settings.alpha, possible, keep, largest)

    # 2. Directions that are known beforehand.
    graph = orient_by_knowledge(adjacent, forbidden)
    check_directions(graph, names)

    # 3. Colliders x -> y <- z, which show in the data.
    confirm_at = settings.alpha if settings.orientation == "confirmed" else None
    graph = orient_colliders(graph, test, forbidden, max(largest, 1), confirm_at)

    # 4. Directions that follow from the others.
    return meek(graph, forbidden), separators


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the CPDAG of `table`, n observations x p columns: `from`, `to`, `type`.

    `params`: see Settings. `type` is "directed" or "undirected"; with `separating_sets`
    also "separated", and "equal" for a column that says the same as an earlier one,
    which stands for both. Source: Spirtes, Glymour & Scheines 2000.
    """
    settings = Settings(**params)
    check_table(table)
    equal = equal_columns(table)
    check_distinct(table, equal, settings.knowledge)
    table = table.drop(columns=list(equal))
    names = table.columns.tolist()

    test = choose_test(table, settings.test)
    data = encode(table, test)
    graph, separators = find_graph(TESTS[test](data), settings, names)

    edges = edge_list(graph, names)
    columns = ["from", "to", "type"]
    if settings.bootstrap:
        check_bootstrap(table, settings.bootstrap)
        add_confidence(edges, graph, data, TESTS[test], settings, names)
        columns += ["confidence", "adjacency"]
    if settings.separating_sets:
        edges += separated_pairs(separators, names)
        columns += ["separating_set"]
    for name, earlier in equal.items():
        edges.append({"from": earlier, "to": name, "type": "equal"})
    answer = pd.DataFrame(edges, columns=columns)
    if answer.isna().any(axis=None):
        answer = answer.astype(object).where(answer.notna(), None)  # null in JSON
    return answer


def add_confidence(
    edges: list[dict[str, Any]],
    graph: np.ndarray,
    data: np.ndarray,
    test: type[ConditionalTest],
    settings: Settings,
    names: list[str],
) -> None:
    """Add to each edge in which share of resamples it, or any edge there, is found."""
    random = np.random.default_rng(settings.seed)
    same = np.zeros(graph.shape)
    adjacent = np.zeros(graph.shape)
    resamples = range(settings.bootstrap)
    for _ in tqdm(resamples, "bootstrap", disable=None):  # None: only on a terminal
        rows = random.integers(len(data), size=len(data))
        other, _ = find_graph(test(data[rows]), settings, names)
        same += (other == graph) & (other.T == graph.T)
        adjacent += other | other.T
    for edge in edges:
        i = names.index(edge["from"])
        j = names.index(edge["to"])
        edge["confidence"] = same[i, j] / settings.bootstrap
        edge["adjacency"] = adjacent[i, j] / settings.bootstrap


def separated_pairs(separators: Separators, names: list[str]) -> list[dict[str, Any]]:
    """Return a row for each pair that isn't adjacent, with columns that separate it."""
    rows = []
    for (x, y), given in separators.items():
        pair = {"from": names[min(x, y)], "to": names[max(x, y)], "type": "separated"}
        rows.append(pair | {"separating_set": [names[i] for i in given]})
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
        except ValidationError as error:
            message = first_fault(error)
        except ValueError as error:
            message = str(error)
        raise mlflow.MlflowException.invalid_parameter_value(message)


# The checks beside those of the package. ValueError says what to do.


def as_table(model_input: Any) -> pd.DataFrame:
    """Return the request's table: REST's "inputs" arrives as a dict of arrays."""
    if not isinstance(model_input, pd.DataFrame | dict):
        raise ValueError("give a table: columns with names, such as dataframe_split")
    return pd.DataFrame(model_input)


def first_fault(error: ValidationError) -> str:
    """Return which parameter is out of its range, and what it may be."""
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    return f"{name:.80}={fault['input']!r:.80}: {fault['msg']}"


def check_distinct(
    table: pd.DataFrame, equal: dict[str, str], knowledge: Knowledge
) -> None:
    """Refuse a table of one column in many guises, and knowledge of such a guise."""
    if len(equal) == table.shape[1] - 1:
        raise ValueError("all columns say the same; give two that differ")
    for name in knowledge.columns():
        if name in equal:
            raise ValueError(
                f"knowledge: column {name!r:.80} says the same as {equal[name]!r:.80}; "
                "name that one"
            )


def check_bootstrap(table: pd.DataFrame, resamples: int) -> None:
    """Refuse to resample few rows: a resample has fewer distinct ones still."""
    rows, columns = table.shape
    if rows < 3 * columns:
        raise ValueError(
            f"bootstrap={resamples}: {rows} rows are too few; give {3 * columns}"
        )


mlflow.models.set_model(CausalDiscovery())
