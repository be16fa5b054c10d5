"""Hostile inputs and crowds on what was logged here; what came of each.

The counts of the tests are published when all have passed. Exit with 0 if every
test passes.
"""

import subprocess
import sys
import time
from typing import Any

from shared.recipes import ROOT, discover

import pandas as pd

from benchmarks.report import Rows, publish

COUNTED = ROOT / "build" / "torture.jsonl"  # the tests write a line for each recipe


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
    start = time.perf_counter()
    COUNTED.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "tests/torture", "-vv", "--here"]
    command += ["--cases=10000", "--dist=worksteal"]
    if failed := subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(failed)
    tried = [f"recipes/{recipe.name}" for recipe in discover()]
    publish("torture", tables(), [*tried, "tests/torture"])
    print(f"{(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
