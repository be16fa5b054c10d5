"""What maxP gains over causal-learn's defaults: distance from the truth on reference networks.

python -m benchmarks.pc_causal_discovery
"""

import numpy as np
import pandas as pd
from causallearn.search.ConstraintBased.PC import pc

from benchmarks.report import Rows, publish
from recipes.pc_causal_discovery.evaluation import compare, cpdag
from recipes.pc_causal_discovery.model_code import discover
from recipes.pc_causal_discovery.networks import real_cells, sample, true_edges

SEEDS = (0, 1, 2)
NETWORKS = ("asia", "sachs", "child", "insurance", "alarm")


def defaults(table: pd.DataFrame, test: str) -> pd.DataFrame:
    """Return the edges of causal-learn's pc() with its own defaults, at the same alpha and test."""
    names = table.columns.tolist()
    data = (
        table.apply(lambda column: pd.factorize(column)[0]) if test == "gsq" else table
    )
    graph = pc(
        data.to_numpy(), 0.05, test, node_names=names, show_progress=False
    ).G.graph
    arrow, line = (
        (graph == -1) & (graph.T == 1),
        np.triu((graph == -1) & (graph.T == -1)),
    )
    rows = [
        (names[i], names[j], "directed" if arrow[i, j] else "undirected")
        for i, j in np.argwhere(arrow | line)
    ]
    return pd.DataFrame(rows, columns=["from", "to", "type"])


def quality() -> Rows:
    rows: Rows = []
    for name in NETWORKS:
        cycles = 0
        shd: dict[str, list[float]] = {
            "maxP (the model)": [],
            "causal-learn's defaults": [],
        }
        for seed in SEEDS:
            table = sample(name, 10_000, seed)
            truth = cpdag(table.columns.tolist(), true_edges(name))
            try:
                found = (discover(table), defaults(table, "gsq"))
            except (
                ValueError
            ):  # a directed cycle: the model answers nothing, nothing is compared
                cycles += 1
                continue
            for values, edges in zip(shd.values(), found, strict=True):
                values.append(compare(edges, truth)["SHD"])
        rows.append(
            {"network": name, "true edges": len(truth), "refused for a cycle": cycles}
        )
        for label, values in shd.items():
            rows[-1][f"SHD {label}"] = float(np.mean(values)) if values else None
            rows[-1][f"{label}: samples"] = str(values)
    return rows


def cells() -> Rows:
    table = real_cells()
    truth = cpdag(table.columns.tolist(), true_edges("sachs"))
    found = {
        "causal-learn's defaults": defaults(table, "fisherz"),
        "the model": discover(table),
    }
    return [{"": label} | compare(edges, truth) for label, edges in found.items()]


if __name__ == "__main__":
    title = f"Distance from the truth, 10,000 rows, mean of {len(SEEDS)} samples"
    network = "853 real cells against the 17 edges of the reference network"
    publish("pc_causal_discovery", {title: quality(), network: cells()})
