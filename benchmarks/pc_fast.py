"""PC as a package beside causal-learn's pc(): seconds, memory, distance from the truth."""

import sys
import tracemalloc
from functools import partial
from itertools import product
from statistics import mean

from shared.recipes import find

import numpy as np
from causallearn.search.ConstraintBased.PC import pc

from benchmarks.report import Rows, interleave, publish

sys.path.insert(0, str(find("pc_fast").path))  # where model_code.py finds its package

from recipes.pc_causal_discovery.evaluation import compare, cpdag, marks  # noqa: E402
from recipes.pc_causal_discovery.networks import sample, true_edges  # noqa: E402
from recipes.pc_fast.model_code import DEFAULTS, TESTS, discover, find_graph  # noqa: E402

CHOSEN_ON = (
    "asia",
    "sachs",
    "child",
    "insurance",
    "alarm",
)  # `confirmed` was chosen on these
UNSEEN = ("cancer", "earthquake", "survey", "water", "hailfinder", "win95pts")


def linear(columns: int, rows: int, seed: int, degree: float = 2.0) -> np.ndarray:
    """Return rows x columns of a random linear model with about `degree` neighbours per column."""
    random, shape = np.random.default_rng(seed), (columns, columns)
    weights = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
    weights *= np.tril(random.random(shape) < degree / (columns - 1), -1)
    data = np.zeros((rows, columns))
    for i in range(columns):
        data[:, i] = data @ weights[i] + random.normal(size=rows)
    return data[:, random.permutation(columns)]


def ours(data: np.ndarray, alpha: float, test: str) -> np.ndarray:
    """Return our graph, [i, j] where i -> j or i - j."""
    settings = DEFAULTS | {"alpha": alpha, "orientation": "maxp"}
    return find_graph(
        TESTS[test](data), settings, list(map(str, range(data.shape[1])))
    )[0]


def theirs(data: np.ndarray, alpha: float, test: str) -> np.ndarray:
    """Return causal-learn's graph in the same form."""
    return (
        pc(data, alpha, test, show_progress=False, uc_rule=1, uc_priority=3).G.graph
        == -1
    )


def speed() -> Rows:
    rows: Rows = []
    tables = {"linear": linear(50, 2000, 0), "linear, wide": linear(500, 2000, 0)}
    for name in ("sachs", "alarm"):
        tables[name] = (
            sample(name, 10_000, 0).apply(lambda cells: cells.factorize()[0]).to_numpy()
        )
    for name, data in tables.items():
        case = (data, 0.05, "fisherz" if data.dtype == float else "gsq")
        rivals = {"pc_fast": partial(ours, *case)}
        if data.shape[1] < 500:  # there it takes many minutes
            rivals["causal-learn"] = partial(theirs, *case)
        seconds = interleave(rivals, rounds=3)
        tracemalloc.start()
        ours(*case)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        row = {
            "table": name,
            "rows": len(data),
            "columns": data.shape[1],
            "peak MB": peak,
        }
        rows.append(row | {f"{rival}, s": taken for rival, taken in seconds.items()})
        tracemalloc.stop()
    return rows


def quality(networks: tuple[str, ...]) -> Rows:
    """Return SHD of both ways to orient, and how many of their directed edges are right."""
    rows: Rows = []
    for name, rule in product(networks, ("maxp", "confirmed")):
        shd, right, directed, true = [], 0, 0, 0
        for table in (sample(name, 10_000, seed) for seed in range(5)):
            names = [
                str(n) for n, cells in table.items() if cells.nunique() > 1
            ]  # rare states
            truth = cpdag(
                names, [arrow for arrow in true_edges(name) if {*arrow} <= {*names}]
            )
            edges = discover(table[names], orientation=rule).query("type != 'equal'")
            shd.append(compare(edges, truth)["SHD"])
            got, want = ({i for i in marks(e).items() if i[1]} for e in (edges, truth))
            right, directed, true = (
                right + len(got & want),
                directed + len(got),
                true + len(want),
            )
        row = {
            "network": name,
            "orientation": rule,
            "SHD": mean(shd),
            "samples": str(shd),
        }
        rows.append(
            row | {"directed right": right, "wrong": directed - right, "of": true}
        )
    return rows


if __name__ == "__main__":
    tables = {
        "Seconds at alpha 0.05, both with maxP": speed(),
        "Distance from the truth, and directed edges; 10,000 rows": quality(CHOSEN_ON),
        "The same on networks that had no part in the choice of `confirmed`": quality(
            UNSEEN
        ),
    }
    publish("pc_fast", tables)
