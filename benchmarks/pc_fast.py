"""PC as a package beside causal-learn's pc(): CPU seconds, distance from the truth."""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any

from shared.recipes import find

import numpy as np
import pandas as pd
from causallearn.search.ConstraintBased.PC import pc

from benchmarks.report import Rows, interleave, publish, spread

sys.path.insert(0, str(find("pc_fast").path))  # where model_code.py finds its package

from recipes.pc_causal_discovery.evaluation import compare, cpdag, marks  # noqa: E402
from recipes.pc_causal_discovery.networks import sample, true_edges  # noqa: E402
from recipes.pc_fast.model_code import (  # noqa: E402
    TESTS,
    Settings,
    discover,
    equal_columns,
    find_graph,
)

ROUNDS = 3
SAMPLES = 3
# `confirmed` was chosen on these
CHOSEN_ON = ("asia", "sachs", "child", "insurance", "alarm")
UNSEEN = ("cancer", "earthquake", "survey", "water", "hailfinder", "win95pts")


def linear(columns: int, rows: int, seed: int, degree: float = 2.0) -> np.ndarray:
    """Return rows x columns of a random linear model, `degree` neighbours a column."""
    random, shape = np.random.default_rng(seed), (columns, columns)
    weights = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
    weights *= np.tril(random.random(shape) < degree / (columns - 1), -1)
    data = np.zeros((rows, columns))
    for i in range(columns):
        data[:, i] = data @ weights[i] + random.normal(size=rows)
    return data[:, random.permutation(columns)]


def ours(data: np.ndarray, alpha: float, test: str) -> np.ndarray:
    """Return our graph, [i, j] where i -> j or i - j."""
    settings = Settings(alpha=alpha, orientation="maxp")
    names = list(map(str, range(data.shape[1])))
    graph, _ = find_graph(TESTS[test](data), settings, names)
    return graph


def theirs(data: np.ndarray, alpha: float, test: str) -> np.ndarray:
    """Return causal-learn's graph in the same form."""
    found = pc(data, alpha, test, show_progress=False, uc_rule=1, uc_priority=3)
    return found.G.graph == -1


def speed() -> Rows:
    """Return CPU seconds from a table to its edges, causal-learn's beside ours."""
    tables = {
        "linear": pd.DataFrame(linear(50, 2000, 0)).add_prefix("x"),
        "linear, wide": pd.DataFrame(linear(500, 2000, 0)).add_prefix("x"),
    }
    for name in ("sachs", "alarm", "hailfinder"):
        tables[name] = sample(name, 10_000, 1)
    # Fewer rows, because causal-learn takes minutes for 10,000.
    recoded = equal_columns(tables["hailfinder"])
    rest = tables["hailfinder"].drop(columns=list(recoded)).head(2000)
    tables["hailfinder, no column recoded"] = rest
    rows: Rows = []
    for name, table in tables.items():
        test = "fisherz" if name.startswith("linear") else "gsq"
        codes = table.apply(lambda cells: cells.factorize()[0]).to_numpy()
        data = table.to_numpy() if test == "fisherz" else codes
        rivals: dict[str, Callable[[], object]] = {
            "pc_fast": partial(discover, table, orientation="maxp")
        }
        if table.shape[1] < 500:  # there it takes many minutes
            rivals["causal-learn"] = partial(theirs, data, 0.05, test)
        size = {"rows": len(table), "columns": table.shape[1]}
        row: dict[str, Any] = {"table": name, **size}
        seconds = interleave(rivals, ROUNDS, time.process_time)
        for rival in rivals:
            row[f"{rival}, CPU s"] = seconds[rival].median()
            row[f"{rival}, range"] = spread(seconds[rival])
        rows.append(row)
    return rows


def quality(networks: tuple[str, ...]) -> Rows:
    """Return SHD and wrongly directed edges of both ways to orient, per network."""
    rows: Rows = []
    for name in networks:
        row: dict[str, object] = {"network": name}
        for rule in ("maxp", "confirmed"):
            results = [distance(name, seed, rule) for seed in range(SAMPLES)]
            row[f"SHD, {rule}"] = mean(shd for shd, _ in results)
            row[f"wrong arrows, {rule}"] = mean(wrong for _, wrong in results)
        rows.append(row)
    return rows


def distance(network: str, seed: int, rule: str) -> tuple[float, float]:
    """Return the SHD of one sample's graph, and how many of its arrows are wrong."""
    table = sample(network, 10_000, seed)
    table = table.loc[:, table.nunique() > 1]  # some states are too rare
    names = table.columns.tolist()
    arrows = [arrow for arrow in true_edges(network) if set(arrow) <= set(names)]
    truth = cpdag(names, arrows)
    edges = discover(table, orientation=rule).query("type != 'equal'")
    directed = {pair for pair in marks(edges).items() if pair[1]}
    wrong = directed - set(marks(truth).items())
    return compare(edges, truth)["SHD"], len(wrong)


if __name__ == "__main__":
    tables = {
        f"CPU seconds, both with maxP; median of {ROUNDS} rounds": speed(),
        "Distance from the truth in pairs of columns (SHD), and arrows that are wrong; "
        f"mean of {SAMPLES} samples of 10,000 rows": quality(CHOSEN_ON),
        "The same on networks that had no part in the choice of `confirmed`": quality(
            UNSEEN
        ),
    }
    publish("pc_fast", tables)
