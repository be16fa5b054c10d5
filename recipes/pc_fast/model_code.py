"""The PC algorithm as a model: a table of observations in, the edges of its causal graph out."""

from typing import Any

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
from pc_fast.knowledge import read_knowledge
from pc_fast.orientation import (
    directed_cycle,
    meek,
    orient_by_knowledge,
    orient_colliders,
)
from pc_fast.skeleton import skeleton
from pc_fast.table import check_table, choose_test, edge_list, encode, equal_columns
from tqdm.auto import tqdm

TESTS = {"fisherz": FisherZ, "gsq": GSquare, "chisq": ChiSquare}
NAMES = Array(Array(DataType.string))
KNOWLEDGE = Object(
    [Property(part, NAMES, False) for part in ("tiers", "required", "forbidden")]
)

# The columns are the caller's business, so the model's signature has none; its parameters are here.
PARAMS = ParamSchema(
    [
        ParamSpec("alpha", "double", 0.05),  # edges go whose p-value is above
        ParamSpec("test", "string", "auto"),  # auto, fisherz, gsq, chisq
        ParamSpec(
            "bins", "long", 0
        ),  # > 0: cut continuous columns into so many categories
        ParamSpec("knowledge", KNOWLEDGE, {}),  # tiers, required and forbidden edges
        ParamSpec(
            "orientation", "string", "confirmed"
        ),  # or maxp, as causal-learn has it
        ParamSpec(
            "max_k", "long", -1
        ),  # condition on so many columns at most; -1: any number
        ParamSpec(
            "separating_sets", "boolean", False
        ),  # also say what separates the other pairs
        ParamSpec(
            "bootstrap", "long", 0
        ),  # > 0: so many resamples for the edges' confidence
        ParamSpec("seed", "long", 0),  # of the resamples
    ]
)
DEFAULTS = {spec.name: spec.default for spec in PARAMS}


def check_settings(settings: dict[str, Any]) -> None:
    """Raise ValueError for a parameter out of its range."""
    for name, value in settings.items():
        if unknown := {name} - set(DEFAULTS):
            raise ValueError(
                f"unknown parameter {unknown.pop()!r:.80}; known: {', '.join(DEFAULTS)}"
            )
        kind = (int, float) if name == "alpha" else type(DEFAULTS[name])
        if not isinstance(value, kind) or isinstance(value, bool) > (
            name == "separating_sets"
        ):
            raise ValueError(
                f"{name}={value!r:.80}: give a {type(DEFAULTS[name]).__name__}"
            )
    bins = settings["bins"]
    allowed = {
        "alpha": (0 < settings["alpha"] < 1, "between 0 and 1"),
        "test": (settings["test"] in ("auto", *TESTS), f"auto, {', '.join(TESTS)}"),
        "bins": (bins == 0 or 2 <= bins <= 10, "0 (off) or 2 to 10"),
        "orientation": (
            settings["orientation"] in ("confirmed", "maxp"),
            "confirmed or maxp",
        ),
        "max_k": (settings["max_k"] >= -1, "-1 (any number) or more"),
        "bootstrap": (0 <= settings["bootstrap"] <= 10_000, "0 (off) to 10000"),
    }
    for name, (fits, text) in allowed.items():
        if not fits:
            raise ValueError(f"{name}={settings[name]!r:.80}: give {text}")


def find_graph(
    test: ConditionalTest, settings: dict[str, Any], names: list[str]
) -> tuple[np.ndarray, dict[tuple[int, int], tuple[int, ...]]]:
    """Return the graph, bool (p, p), and for each pair that was separated the set that did it."""
    forbidden, required = read_knowledge(names, settings["knowledge"])
    start = ~(forbidden & forbidden.T) & ~np.eye(len(names), dtype=bool)
    alpha, largest = (
        settings["alpha"],
        settings["max_k"] if settings["max_k"] >= 0 else len(names),
    )
    adjacent, separators = skeleton(test, alpha, start, required | required.T, largest)
    graph = orient_by_knowledge(adjacent, forbidden)
    if cycle := directed_cycle(graph & ~graph.T):
        path = " -> ".join(names[i] for i in cycle)
        raise ValueError(
            f"knowledge: with what the data keep it makes the cycle {path:.80}"
        )
    confirm_at = alpha if settings["orientation"] == "confirmed" else None
    graph = orient_colliders(graph, test, forbidden, max(largest, 1), confirm_at)
    return meek(graph, forbidden), separators


def discover(table: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return the CPDAG of `table` (n observations x p columns): one row per edge.

    Columns: `from`, `to`, `type` ("directed" or "undirected"); with `bootstrap` also `confidence`
    and `adjacency`, the shares of resamples with this very edge and with any edge between the two;
    a column that says the same as an earlier one is left out, and a row of type "equal" says so;
    with `separating_sets` also a row of type "separated" for each pair that a test separated, and
    `separating_set`, the columns given which the two are independent. ValueError says what is
    wrong with the table or the parameters (PARAMS). Source: Spirtes, Glymour & Scheines 2000.
    """
    settings = DEFAULTS | params
    check_settings(settings)
    check_table(table)
    stands = equal_columns(table)
    said = str(settings["knowledge"])
    if named := [name for name in stands if repr(name) in said]:
        raise ValueError(
            f"knowledge: column {min(named)!r:.80} says the same as another; name that"
        )
    table = table.drop(columns=[*stands])
    if table.shape[1] < 2:
        raise ValueError("all columns say the same")
    names = table.columns.tolist()
    repeats = settings["bootstrap"]
    if repeats and len(table) < 3 * len(names):
        raise ValueError(
            f"bootstrap={repeats}: give three times as many rows as columns"
        )
    name = choose_test(table, settings["test"], settings["bins"])
    data = encode(table, name, settings["bins"])
    graph, separators = find_graph(TESTS[name](data), settings, names)
    edges = edge_list(graph, names)
    if repeats:
        random = np.random.default_rng(settings["seed"])
        i, j = (table.columns.get_indexer(edges[end]) for end in ("from", "to"))
        same, adjacent = np.zeros(len(edges)), np.zeros(len(edges))
        for _ in tqdm(
            range(repeats), "bootstrap", disable=None
        ):  # None: only on a terminal
            rows = random.integers(len(data), size=len(data))
            other, _ = find_graph(TESTS[name](data[rows]), settings, names)
            same += (other[i, j] == graph[i, j]) & (other[j, i] == graph[j, i])
            adjacent += other[i, j] | other[j, i]
        edges["confidence"], edges["adjacency"] = same / repeats, adjacent / repeats
    if settings["separating_sets"]:
        separated = [
            {"from": names[x], "to": names[y], "type": "separated"}
            | {"separating_set": [names[s] for s in given]}
            for (x, y), given in sorted(separators.items())
        ]
        columns = [*edges.columns, "separating_set"]
        edges = pd.DataFrame(
            edges.to_dict("records") + separated, columns=columns, dtype=object
        )
    if stands:
        equal = [(kept, left, "equal") for left, kept in stands.items()]
        more = pd.DataFrame(equal, columns=["from", "to", "type"], dtype=object)
        edges = pd.DataFrame(
            edges.to_dict("records") + more.to_dict("records"), dtype=object
        )
    return edges.where(edges.notna(), None)  # null in JSON, which has no NaN


class CausalDiscovery(mlflow.pyfunc.PythonModel):
    """Take any table; answer with the edges of its causal graph, see `discover`."""

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the edges; MlflowException (HTTP 400) says what is wrong with the request."""
        # Without input columns in the signature, REST's "inputs" arrives as a dict of arrays.
        try:
            if not isinstance(model_input, pd.DataFrame | dict):
                raise ValueError(
                    "give a table: columns with names, such as dataframe_split"
                )
            return discover(pd.DataFrame(model_input), **(params or {}))
        except (
            ValueError,
            OverflowError,
        ) as error:  # an int beyond 1e308 makes the latter
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None


mlflow.models.set_model(CausalDiscovery())
