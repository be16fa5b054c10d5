"""Recipe x MLflow x Python: each recipe is logged, and answers in another process.

Each Python has a checkout of its own, with the packages of locks/ but for the MLflow of
the column. `python -m benchmarks.matrix NAME...` runs some of the recipes.
"""

import json
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
SMOKED = re.compile(r"^\[\d+/\d+\] (\w+) +(?:ok|failed).*\n(?: {6}(.*)\n)?", re.M)
RECIPES = [recipe.name for recipe in discover()]


def run(checkout: Path, command: str) -> str:
    """Run a command in the checkout, with a store there; return what it prints."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    words = command.split()
    done = subprocess.run(words, cwd=checkout, env=variables, stdout=subprocess.PIPE)
    return done.stdout.decode()


def put_mlflow(checkout: Path, version: str) -> str:
    """Put that MLflow in place of the one that is there; return its name.

    Its wheel holds the code of mlflow-skinny and mlflow-tracing too. Its store is new.
    """
    shutil.rmtree(checkout / ".mlflow", ignore_errors=True)
    run(checkout, f"{UV} uninstall -q mlflow mlflow-skinny mlflow-tracing")
    run(checkout, f"{UV} install -q --no-deps mlflow{version}")
    found = re.search(r"^mlflow==(.+)$", run(checkout, f"{UV} freeze"), re.M)
    assert found, f"mlflow{version} was not installed"
    return f"MLflow {found[1]}"


def outcomes(checkout: Path) -> dict[str, str]:
    """Return each recipe's error, or "" if it answers as it should."""
    run(checkout, f"{CLI} log-all")
    smoked = dict(SMOKED.findall(run(checkout, f"{CLI} smoke-all")))
    logged = json.loads((checkout / "build" / "log-all.json").read_text("utf-8"))
    errors = {row["recipe"]: row["error"] for row in logged}
    return {name: errors[name] or smoked.get(name, "no answer") for name in errors}


def main(chosen: list[str]) -> None:
    cells: Rows = []
    failed: Rows = []
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as place:
            checkout = Path(place)
            run(ROOT, f"git clone -q . {place}")
            for other in {*RECIPES} - {*chosen}:
                shutil.rmtree(checkout / "recipes" / other)
            stamps = " ".join(f".venv/.one-{name}" for name in chosen)
            run(checkout, f"make -s PYTHON={interpreter(python)} {stamps}")
            for version in MLFLOWS:
                mlflow = put_mlflow(checkout, version)
                print(f"      Python {python}, {mlflow}", flush=True)
                for recipe, error in outcomes(checkout).items():
                    where = f"{recipe}, Python {python}, {mlflow}"
                    mark = re.sub(r"\W+", "-", where)
                    shown = f"[{python} fails](#{mark})" if error else python
                    cells.append({"Recipe": recipe, "mlflow": mlflow, "shown": shown})
                    if error:
                        said = {"It said": f"`{error:.200}`"}
                        failed.append({"Failed": f'<a id="{mark}"></a>{where}', **said})
    works = pd.DataFrame(cells).pivot_table("shown", "Recipe", "mlflow", ", ".join)
    works = works.reindex(RECIPES, fill_value="not run").reset_index()
    rows: Any = works.to_dict("records")
    tables: dict[str, Rows] = {"Works on Python": rows}
    if failed:
        tables["What failed"] = failed
    publish("matrix", tables, ["recipes", "locks"])


if __name__ == "__main__":
    main(sys.argv[1:] or RECIPES)
