"""Tables to discover from: real cells, and samples of reference networks with known truth.

The data lie in the wheels of `cdt` and `pgmpy`; importing these packages would need far more than
their files, so only the files are read.
"""

import gzip
import re
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

# (parents, probabilities) of a variable: shape (states of each parent ..., states of the variable)
Network = dict[str, tuple[list[str], np.ndarray]]

# The proteins as the reference network names them.
PROTEINS = {
    "praf": "Raf", "pmek": "Mek", "plcg": "Plcg", "PIP2": "PIP2", "PIP3": "PIP3", "p44/42": "Erk",
    "pakts473": "Akt", "PKA": "PKA", "PKC": "PKC", "P38": "P38", "pjnk": "Jnk",
}  # fmt: skip


def real_cells() -> pd.DataFrame:
    """Return the 853 observational cells of Sachs et al. 2005, float, columns of 11 proteins.

    Fluorescence in arbitrary units. The file goes on with cells under interventions, which must not
    be pooled with these.
    """
    path = _package_folder("cdt") / "data" / "resources" / "cyto_full_data.csv"
    return pd.read_csv(path, nrows=853).rename(columns=PROTEINS)


def reference_network(name: str) -> tuple[dict[str, list[str]], Network]:
    """Return states per variable, and the network, of pgmpy's file `name`.bif.gz.

    Reads the BIF of the bnlearn repository: discrete variables, one row per combination of parents.
    Raises ValueError for a table with gaps.
    """
    path = _package_folder("pgmpy") / "utils" / "example_models" / f"{name}.bif.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    variable = r"variable\s+(\S+)\s*\{\s*type\s+discrete\s*\[\s*\d+\s*\]\s*\{([^}]*)\}"
    states = {name: _split(listed) for name, listed in re.findall(variable, text)}
    network: Network = {}
    for head, body in re.findall(
        r"probability\s*\(([^)]*)\)\s*\{(.*?)\n\}", text, re.DOTALL
    ):
        child, _, given = head.partition("|")
        parents = _split(given)
        shape = [len(states[variable]) for variable in (*parents, child.strip())]
        table = np.full(shape, np.nan)
        for condition, numbers in re.findall(r"(?:table|\(([^)]*)\))\s*([^;]*);", body):
            values = zip(parents, _split(condition), strict=True)
            at = tuple(states[parent].index(value) for parent, value in values)
            table[at] = [float(number) for number in _split(numbers)]
        if np.isnan(table).any():
            raise ValueError(f"{path}: the table of {child.strip()} has gaps")
        network[child.strip()] = (parents, table)
    return states, network


def sample(name: str, rows: int, seed: int) -> pd.DataFrame:
    """Return `rows` draws from the reference network `name`, text, a column per variable."""
    states, network = reference_network(name)
    random = np.random.default_rng(seed)
    codes: dict[str, np.ndarray] = {}
    causes = {child: parents for child, (parents, _) in network.items()}
    for child in TopologicalSorter(causes).static_order():
        parents, table = network[child]
        chance = table[tuple(codes[parent] for parent in parents)].cumsum(axis=-1)
        draw = (
            random.random((rows, 1)) * chance[..., -1:]
        )  # published tables sum to 1 roughly
        codes[child] = (draw >= chance).sum(axis=1)
    return pd.DataFrame(
        {v: np.array(states[v], dtype=object)[codes[v]] for v in states}
    )


def true_edges(name: str) -> list[tuple[str, str]]:
    """Return the (cause, effect) pairs of the reference network `name`."""
    _, network = reference_network(name)
    return [
        (cause, effect) for effect, (causes, _) in network.items() for cause in causes
    ]


def _package_folder(package: str) -> Path:
    spec = find_spec(package)  # looks the package up and runs none of its code
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}; it holds the data")
    return Path(spec.submodule_search_locations[0])


def _split(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]
