"""Hostile inputs, crowds, kills (tests/torture), and what came of each, counted."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.report import publish
from shared.recipes import ROOT, discover


def row(recipe: str, counted: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    return {"recipe": recipe, **{column: counted.get(column, 0) for column in columns}}


def main() -> None:
    file = ROOT / "build" / "torture.json"
    file.unlink(missing_ok=True)
    cases = sys.argv[1] if sys.argv[1:] else "10000"
    words = [sys.executable, "-m", "pytest", "tests/torture", "--cases", cases, "--dist", "load"]
    if failed := subprocess.run(words, cwd=ROOT).returncode:
        sys.exit(failed)
    tables = {}
    for test, parts in sorted(json.loads(file.read_text(encoding="utf-8")).items()):
        columns = sorted({name for counted in parts.values() for name in counted})
        columns.sort(key=lambda name: (name != "cases", name.startswith("MLflow's own")))
        tables[test] = [row(recipe, counted, columns) for recipe, counted in parts.items()]
    tried = [f"recipes/{recipe.name}" for recipe in discover()]
    publish("torture", tables, [*tried, "shared/store.py", "tests/torture"])


if __name__ == "__main__":
    main()
