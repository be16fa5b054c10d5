"""Hostile inputs and crowds on what was logged here; what came of each.

The counts of the tests are published when all have passed. Exits 0 only if all that was
tried is as it must be.
"""

import argparse
import subprocess
import sys
import time
from typing import Any

from shared.recipes import ROOT, discover

import pandas as pd

from benchmarks.report import Rows, publish
from tests.torture.conftest import COUNTED


def tables() -> dict[str, Rows]:
    """Return a table for each test, a row for each recipe."""
    counted = pd.read_json(COUNTED, lines=True)
    order = [recipe.name for recipe in discover()]
    counted = counted.sort_values("recipe", key=lambda names: names.map(order.index))
    found: dict[str, Rows] = {}
    for test, rows in counted.groupby("test"):
        rows = rows.drop(columns="test").dropna(axis=1, how="all").fillna(0)
        columns = sorted(rows.columns, key=lambda name: name.startswith("MLflow's own"))
        ordered: Any = rows.convert_dtypes()[columns].to_dict("records")
        found[str(test)] = ordered
    return found


def main() -> None:
    words = argparse.ArgumentParser(
        prog="python -m benchmarks.torture", description=__doc__
    )
    words.add_argument(
        "--cases",
        type=int,
        default=10_000,
        help="hostile inputs a recipe; all else in proportion",
    )
    cases, start = words.parse_args().cases, time.perf_counter()
    COUNTED.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "tests/torture", "-vv", "--here"]
    command += [f"--cases={cases}", "--dist=worksteal"]
    if failed := subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(failed)
    tried = [f"recipes/{recipe.name}" for recipe in discover()]
    publish("torture", tables(), [*tried, "tests/torture"])
    print(f"{(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
