"""853 real cells, and the network that is taken to be behind them."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

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
# The reference network "sachs" of the bnlearn repository: effects by their cause.
REFERENCE = {
    "PKC": ("PKA", "Raf", "Mek", "Jnk", "P38"),
    "PKA": ("Raf", "Mek", "Erk", "Akt", "Jnk", "P38"),
    "Raf": ("Mek",),
    "Mek": ("Erk",),
    "Erk": ("Akt",),
    "Plcg": ("PIP3", "PIP2"),
    "PIP3": ("PIP2",),
}


def reference_pairs() -> set[frozenset[str]]:
    """Return the pairs of proteins with an edge in the reference network."""
    return {
        frozenset((cause, effect)) for cause in REFERENCE for effect in REFERENCE[cause]
    }


def real_cells() -> pd.DataFrame:
    """Return the 853 observational cells of Sachs et al. 2005, columns of 11 proteins.

    Fluorescence in arbitrary units. Only the file in the `cdt` wheel is read; to import
    the package would need far more.
    """
    spec = find_spec("cdt")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no package cdt; it holds the data")
    folder = Path(spec.submodule_search_locations[0])
    cells = pd.read_csv(folder / "data/resources/cyto_full_data.csv", nrows=853)
    return cells.rename(columns=PROTEINS)
