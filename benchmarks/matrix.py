"""Recipe x MLflow x Python: each recipe is logged, and answers in another process.

Each Python has a checkout of its own, with the packages of locks/ but for the MLflow of
the column. probes.py asks what each MLflow loads. `python -m benchmarks.matrix NAME...`
runs some of the recipes; the cells of the others say so.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.recipes import ROOT, WARNINGS, discover, find

from benchmarks.pythons import interpreter
from benchmarks.report import Rows, publish

MLFLOWS = ["==3.17.2", ""]  # "" is the newest that the index has
PYTHONS = ["3.11", "3.12", "3.13"]
PYTHON, UV = ".venv/bin/python", ".venv/bin/uv pip"
CLI = f"{PYTHON} {' '.join(WARNINGS)} -m shared.cli"
SMOKED = re.compile(r"^\[\d+/\d+\] (\w+) +(?:ok|failed).*\n(?: {6}(.*)\n)?", re.M)


def run(checkout: Path, command: str) -> str:
    """Run a command in the checkout; return what it prints."""
    mlflow = [f"--unset={name}" for name in os.environ if name.startswith("MLFLOW_")]
    words = ["env", *mlflow, *command.split()]
    done = subprocess.run(words, cwd=checkout, stdout=subprocess.PIPE, text=True)
    return done.stdout


def put_mlflow(checkout: Path, version: str) -> str:
    """Put that MLflow in place of the one that is there; return its name.

    Its wheel holds the code of mlflow-skinny and mlflow-tracing too. Its store is new.
    """
    shutil.rmtree(checkout / ".mlflow", ignore_errors=True)
    run(checkout, f"{UV} uninstall -q mlflow mlflow-skinny mlflow-tracing")
    run(checkout, f"{UV} install -q --no-deps mlflow{version}")
    return run(checkout, f"{UV} freeze").split("mlflow==")[1].split()[0]


def outcomes(checkout: Path) -> dict[str, str]:
    """Return each recipe's error, or "" if it answers as it should."""
    run(checkout, f"{CLI} log-all")
    smoked = dict(SMOKED.findall(run(checkout, f"{CLI} smoke-all")))
    rows = json.loads((checkout / "build" / "log-all.json").read_text("utf-8"))
    names = [row["recipe"] for row in rows]
    logged = {row["recipe"]: row["error"] for row in rows}
    return {name: logged[name] or smoked.get(name, "no answer") for name in names}


def main(names: list[str]) -> None:
    chosen = [find(name).name for name in names] or [r.name for r in discover()]
    cells: dict[str, dict[str, list[str]]] = {}
    loads: dict[str, dict[str, str]] = {}
    failed: Rows = []
    for minor in filter(interpreter, PYTHONS):
        with tempfile.TemporaryDirectory() as place:
            checkout = Path(place)
            run(ROOT, f"git clone -q {ROOT} {place}")
            for other in {r.name for r in discover()} - {*chosen}:
                shutil.rmtree(checkout / "recipes" / other)
            stamps = " ".join(f".venv/.one-{name}" for name in chosen)
            run(checkout, f"make -s PYTHON={interpreter(minor)} {stamps}")
            for wanted in MLFLOWS:
                mlflow = put_mlflow(checkout, wanted)
                print(f"      Python {minor}, MLflow {mlflow}", flush=True)
                if mlflow not in loads:
                    answer = run(checkout, f"{PYTHON} benchmarks/probes.py")
                    loads[mlflow] = json.loads(answer)
                for recipe, error in outcomes(checkout).items():
                    shown = minor
                    if error:
                        mark = f"{recipe}-{minor}-{mlflow}"
                        shown = f"[{minor} fails](#{mark})"
                        where = f"{recipe}, Python {minor}, MLflow {mlflow}"
                        where = f'<a id="{mark}"></a>{where}'
                        failed.append({"Failed": where, "It said": f"`{error:.200}`"})
                    cells.setdefault(f"{recipe} {mlflow}", []).append(shown)
    absent = [f"{minor} not run" for minor in PYTHONS if not interpreter(minor)]
    tables: dict[str, Rows] = {"Works on Python": [], "What loads": []}
    for recipe in (each.name for each in discover()):
        row = {"Recipe": recipe}
        for mlflow in loads:
            pythons = cells.get(f"{recipe} {mlflow}", ["not run"])
            row[f"MLflow {mlflow}"] = ", ".join(pythons + absent)
        tables["Works on Python"].append(row)
    for question in next(iter(loads.values())):
        answers = {f"MLflow {mlflow}": loads[mlflow][question] for mlflow in loads}
        tables["What loads"].append({"You load": question, **answers})
    if failed:
        tables["What failed"] = failed
    publish("matrix", tables, ["recipes", "locks", "benchmarks/probes.py"])


if __name__ == "__main__":
    main(sys.argv[1:])
