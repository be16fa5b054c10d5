"""Read tables to discover from: real cells, and samples of known reference networks.

`cdt` and `pgmpy` are installed for the data files in their wheels alone. Nothing
imports them, which would take their many dependencies.
"""

import gzip
import re
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

# (parents, probabilities) of each variable. The probabilities have an axis for the
# states of each parent, and a last one for the variable's own.
Network = dict[str, tuple[list[str], np.ndarray]]

# The proteins as the reference network names them.
PROTEINS = {
    "praf": "Raf",
    "pmek": "Mek",
    "plcg": "Plcg",
    "PIP2": "PIP2",
    "PIP3": "PIP3",
    "p44/42": "Erk",
    "pakts473": "Akt",
    "PKA": "PKA",
    "PKC": "PKC",
    "P38": "P38",
    "pjnk": "Jnk",
}


def real_cells() -> pd.DataFrame:
    """Return the 853 observational cells of Sachs et al. 2005, a column per protein.

    The values are fluorescence in arbitrary units. Later rows of the file are cells
    under interventions, which must not be pooled with these.
    """
    path = _package_folder("cdt") / "data" / "resources" / "cyto_full_data.csv"
    return pd.read_csv(path, nrows=853).rename(columns=PROTEINS)


def reference_network(name: str) -> tuple[dict[str, list[str]], Network]:
    """Return the states of each variable, and the network, in pgmpy's `name`.bif.gz.

    The file is in the BIF of the bnlearn repository: discrete variables, one row for
    each combination of parents. A table with gaps raises ValueError.
    """
    path = _package_folder("pgmpy") / "utils" / "example_models" / f"{name}.bif.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    states = {}
    variables = r"variable\s+(\S+)\s*\{\s*type\s+discrete\s*\[\s*\d+\s*\]\s*\{([^}]*)\}"
    for variable, listed in re.findall(variables, text):
        states[variable] = _split(listed)
    network: Network = {}
    tables = r"probability\s*\(([^)]*)\)\s*\{(.*?)\n\}"
    for head, body in re.findall(tables, text, re.DOTALL):
        child, _, listed = head.partition("|")
        child = child.strip()
        parents = _split(listed)
        shape = [len(states[variable]) for variable in (*parents, child)]
        table = np.full(shape, np.nan)
        for condition, numbers in re.findall(r"(?:table|\(([^)]*)\))\s*([^;]*);", body):
            position = []
            for parent, state in zip(parents, _split(condition), strict=True):
                position.append(states[parent].index(state))
            table[tuple(position)] = [float(number) for number in _split(numbers)]
        if np.isnan(table).any():
            raise ValueError(f"{path}: the table of {child} has gaps")
        network[child] = (parents, table)
    return states, network


def sample(name: str, rows: int, seed: int) -> pd.DataFrame:
    """Return `rows` rows drawn from the reference network `name`, as text."""
    states, network = reference_network(name)
    random = np.random.default_rng(seed)
    causes = {child: parents for child, (parents, _) in network.items()}
    codes: dict[str, np.ndarray] = {}
    for child in TopologicalSorter(causes).static_order():
        parents, table = network[child]
        upper = table[tuple(codes[parent] for parent in parents)].cumsum(axis=-1)
        # Published probabilities sum to 1 only roughly, hence times the last sum.
        draw = random.random((rows, 1)) * upper[..., -1:]
        codes[child] = (draw >= upper).sum(axis=1)
    columns = {}
    for variable, labels in states.items():
        columns[variable] = np.array(labels, dtype=object)[codes[variable]]
    return pd.DataFrame(columns)


def true_edges(name: str) -> list[tuple[str, str]]:
    """Return the (cause, effect) pairs of the reference network `name`."""
    _, network = reference_network(name)
    edges: list[tuple[str, str]] = []
    for effect, (causes, _) in network.items():
        edges.extend((cause, effect) for cause in causes)
    return edges


def _package_folder(package: str) -> Path:
    spec = find_spec(package)  # looks the package up and runs none of its code
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}; it holds the data")
    return Path(spec.submodule_search_locations[0])


def _split(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]
