"""Recipe x MLflow x Python: each recipe is logged, and answers in another process.

Each Python has a checkout of its own, with the packages of locks/ but for the MLflow of
the column. `python -m benchmarks.matrix NAME...` runs some of the recipes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.recipes import ROOT, WARNINGS, discover

import pandas as pd

from benchmarks.pythons import interpreter
from benchmarks.report import Rows, publish

MLFLOWS = ["==3.17.2", ""]  # "" is the newest that the index has
PYTHONS = ["3.11", "3.12", "3.13"]
UV = ".venv/bin/uv pip"
CLI = f".venv/bin/python {' '.join(WARNINGS)} -m shared.cli"
RECIPES = [recipe.name for recipe in discover()]


def run(checkout: Path, command: str) -> tuple[int, str]:
    """Run a command in the checkout, on its store; return exit code and output."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(
        command.split(), cwd=checkout, env=variables, capture_output=True, text=True
    )
    return done.returncode, done.stderr + done.stdout


def put_mlflow(checkout: Path, version: str) -> str:
    """Put that MLflow in place of the one that is there; return its name.

    Its wheel holds the code of mlflow-skinny and mlflow-tracing too. Its store is new.
    """
    shutil.rmtree(checkout / ".mlflow", ignore_errors=True)
    run(checkout, f"{UV} uninstall -q mlflow mlflow-skinny mlflow-tracing")
    run(checkout, f"{UV} install -q --no-deps mlflow{version}")
    found = re.search(r"^mlflow==(.+)$", run(checkout, f"{UV} freeze")[1], re.M)
    assert found, f"mlflow{version} was not installed"
    return f"MLflow {found[1]}"


def error(checkout: Path, recipe: str) -> str:
    """Return what is said of the recipe there, "" if it answers as it should."""
    for verb in ("log", "smoke"):
        failed, said = run(checkout, f"env RECIPE={recipe} {CLI} {verb}")
        if failed:
            lines = [line for line in said.splitlines() if "again: make" not in line]
            return lines[-1].strip()
    return ""


def main(chosen: list[str]) -> None:
    cells: Rows = []
    failed: Rows = []
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as place:
            checkout = Path(place)
            run(ROOT, f"git clone -q . {place}")
            stamps = " ".join(f".venv/.one-{name}" for name in chosen)
            make = f"make -s PYTHON={interpreter(python)} {stamps}"
            failed_to_install, said = run(checkout, make)
            assert not failed_to_install, said
            for version in MLFLOWS:
                mlflow = put_mlflow(checkout, version)
                print(f"      Python {python}, {mlflow}", flush=True)
                for recipe in chosen:
                    where = f"{recipe}, Python {python}, {mlflow}"
                    mark = re.sub(r"\W+", "-", where)
                    said = error(checkout, recipe)
                    shown = f"[{python} fails](#{mark})" if said else python
                    cells.append({"Recipe": recipe, "mlflow": mlflow, "shown": shown})
                    if said:
                        where = f'<a id="{mark}"></a>{where}'
                        failed.append({"Failed": where, "It said": f"`{said:.200}`"})
    works = pd.DataFrame(cells).pivot_table("shown", "Recipe", "mlflow", ", ".join)
    works = works.reindex(RECIPES, fill_value="not run").reset_index()
    rows: Any = works.to_dict("records")
    tables: dict[str, Rows] = {"Works on Python": rows}
    if failed:
        tables["What failed"] = failed
    publish("matrix", tables, ["recipes", "locks"])


if __name__ == "__main__":
    main(sys.argv[1:] or RECIPES)
