"""How close PC with maxP comes to known graphs, and whether it answers any table.

python -m benchmarks.pc_causal_discovery

Settings were chosen on samples drawn with the seeds 0 to 2; the seeds here are others.
"""

from importlib.util import find_spec
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from causallearn.search.ConstraintBased.PC import pc

from benchmarks.report import Rows, publish
from recipes.pc_causal_discovery.evaluation import compare, cpdag
from recipes.pc_causal_discovery.model_code import discover, read_edges
from recipes.pc_causal_discovery.networks import real_cells, sample, true_edges

SEEDS = (10, 11)
NETWORKS = [
    "earthquake",
    "survey",
    "asia",
    "sachs",
    "child",
    "insurance",
    "alarm",
    "water",
]
# Tables that come with packages: those without gaps, with at least 90 rows and four
# columns of numbers that vary.
PUBLIC = [
    "cdt/data/resources/cyto_full_data.csv",
    "lifelines/datasets/gbsg2.csv",
    "lifelines/datasets/kidney_transplant.csv",
    "lifelines/datasets/larynx.csv",
    "lifelines/datasets/lymph_node.csv",
    "lifelines/datasets/recur.csv",
    "lifelines/datasets/regression.csv",
    "lifelines/datasets/rossi.csv",
    "lifelines/datasets/stanford_heart.csv",
    "lifetimes/datasets/cdnow_customers_summary.csv",
    "lifetimes/datasets/cdnow_customers_summary_with_transactions.csv",
    "sklearn/datasets/data/breast_cancer.csv",
    "sklearn/datasets/data/diabetes_data_raw.csv.gz",
    "sklearn/datasets/data/iris.csv",
    "sklearn/datasets/data/wine_data.csv",
    "statsmodels/datasets/anes96/anes96.csv",
    "statsmodels/datasets/fair/fair.csv",
    "statsmodels/datasets/fair/fair_pt.csv",
    "statsmodels/datasets/grunfeld/grunfeld.csv",
    "statsmodels/datasets/interest_inflation/E6.csv",
    "statsmodels/datasets/macrodata/macrodata.csv",
    "statsmodels/datasets/modechoice/modechoice.csv",
    "statsmodels/datasets/randhie/randhie.csv",
    "statsmodels/datasets/star98/star98.csv",
]


def public_table(file: str) -> pd.DataFrame:
    """Return the columns of numbers that vary, of a table that a package ships."""
    package, _, inside = file.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}; it holds the data")
    path = Path(spec.submodule_search_locations[0]) / inside
    if path.suffix == ".gz":
        table = pd.read_csv(path, sep=" ", header=None)
    elif package == "sklearn":
        table = pd.read_csv(path, skiprows=1, header=None)
    else:
        table = pd.read_csv(path, sep=None, engine="python")
    numbers = table.select_dtypes("number")
    numbers = numbers.loc[:, numbers.nunique() > 1]
    return numbers.rename(columns=str)


def random_table(seed: int, hidden: int) -> pd.DataFrame:
    """Return rows of a random linear graph, without its `hidden` other columns."""
    random = np.random.default_rng(seed)
    columns = int(random.integers(5, 13))
    rows = int(random.choice([100, 200, 500, 2000]))
    degree = random.choice([1.5, 2.5, 4])
    total = columns + hidden
    share = degree / (total - 1)
    data = random.normal(size=(rows, total))
    for effect in range(1, total):
        causes = random.random(effect) < share
        weights = random.uniform(0.3, 1, effect) * random.choice([-1, 1], effect)
        data[:, effect] += data[:, :effect] @ (weights * causes)
    names = [f"x{number}" for number in range(total)]
    table = pd.DataFrame(data, columns=names)
    return table[random.permutation(names)[:columns]]


def has_cycle(edges: pd.DataFrame) -> bool:
    """Tell whether the directed edges form a cycle."""
    directed = edges[edges["type"] == "directed"]
    graph = nx.from_pandas_edgelist(directed, "from", "to", create_using=nx.DiGraph)
    return not nx.is_directed_acyclic_graph(graph)


def answers() -> Rows:
    """Count tables that are answered, and cycles in the answers."""
    groups = {
        "public tables": [public_table(file) for file in PUBLIC],
        "random graphs": [random_table(seed, 0) for seed in range(1000, 1160)],
        "random graphs, 3 hidden causes": [
            random_table(seed, 3) for seed in range(1000, 1140)
        ],
    }
    rows: Rows = []
    for group, tables in groups.items():
        answered = 0
        cycles = 0
        double = 0
        for table in tables:
            try:
                edges = discover(table)
            except ValueError as error:
                print(f"{group}: {error}")
                continue
            answered += 1
            cycles += has_cycle(edges)
            pairs = {frozenset(p) for p in edges[["from", "to"]].to_numpy().tolist()}
            double += len(pairs) < len(edges)
        row = {"": group, "tables": len(tables), "answered": answered}
        rows.append(row | {"with a cycle": cycles, "with two arrowheads": double})
    return rows


def defaults(table: pd.DataFrame, test: str) -> pd.DataFrame:
    """Return the edges of causal-learn's pc() as it comes, at the same alpha."""
    names = table.columns.tolist()
    data = table
    if test == "gsq":
        data = table.apply(lambda column: pd.factorize(column)[0])
    result = pc(data.to_numpy(), 0.05, test, node_names=names, show_progress=False)
    edges = read_edges(result.G.graph, names)
    return pd.DataFrame(edges, columns=["from", "to", "type"])


def distances() -> Rows:
    """Measure the mean distance to each reference network, and over all of them."""
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for name in NETWORKS:
        names = sample(name, 1, 0).columns.tolist()
        truth = cpdag(names, true_edges(name))
        ours[name] = 0
        theirs[name] = 0
        for seed in SEEDS:
            table = sample(name, 10_000, seed)
            table = table.loc[:, table.nunique() > 1]
            ours[name] += compare(discover(table), truth)["SHD"] / len(SEEDS)
            theirs[name] += compare(defaults(table, "gsq"), truth)["SHD"] / len(SEEDS)
        print(name, ours[name], theirs[name], flush=True)
    return [
        {"": "maxP (the model)", **ours, "all": sum(ours.values())},
        {"": "causal-learn's defaults", **theirs, "all": sum(theirs.values())},
    ]


def cells() -> Rows:
    table = real_cells()
    truth = cpdag(table.columns.tolist(), true_edges("sachs"))
    rivals = {
        "causal-learn's defaults": defaults(table, "fisherz"),
        "the model": discover(table),
    }
    return [{"": label} | compare(edges, truth) for label, edges in rivals.items()]


if __name__ == "__main__":
    title = f"SHD to the reference network, 10,000 rows, mean of {len(SEEDS)} samples"
    network = "853 real cells against the 17 edges of the reference network"
    publish(
        "pc_causal_discovery",
        {title: distances(), network: cells(), "Tables answered": answers()},
        best={name: "min" for name in (*NETWORKS, "all", "SHD")},
    )
