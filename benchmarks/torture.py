"""Hostile inputs, crowds and kills on what was logged here; what came of each.

The counts of a test are kept once it has passed, in build/torture.json; when all have
passed, they are published. Exits 0 only if all that was tried is as it must be.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from typing import Any

from shared.recipes import ROOT, discover

from benchmarks.report import publish

COUNTED = ROOT / "build" / "torture.json"


def row(recipe: str, counted: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    return {"recipe": recipe, **{column: counted.get(column, 0) for column in columns}}


def tables(kept: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return a table for each test, a row for each recipe."""
    tests: dict[str, dict[str, Any]] = {}
    for node, counted in kept.items():
        name, recipe = re.findall(r"::test_(\w+)(?:\[(.+)\])?$", node)[0]
        tests.setdefault(name.replace("_", " "), {})[recipe or "all"] = counted
    found = {}
    order = [recipe.name for recipe in discover()]
    for name, parts in sorted(tests.items()):
        columns = sorted({column for counted in parts.values() for column in counted})
        columns.sort(
            key=lambda column: (column != "cases", column.startswith("MLflow's own"))
        )
        recipes = sorted(
            parts, key=lambda recipe: order.index(recipe) if recipe in order else -1
        )
        found[name] = [row(recipe, parts[recipe], columns) for recipe in recipes]
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
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/torture",
        "-vv",
        "--here",
        f"--cases={cases}",
    ]
    if failed := subprocess.run([*command, "--dist=worksteal"], cwd=ROOT).returncode:
        sys.exit(failed)
    tried = [f"recipes/{recipe.name}" for recipe in discover()]
    kept = json.loads(COUNTED.read_text(encoding="utf-8"))
    publish("torture", tables(kept), [*tried, "shared/store.py", "tests/torture"])
    print(f"{(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
