"""circle_area served in an environment with mlflow, and in one with mlflow-skinny."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT, find

import mlflow

from benchmarks.report import Rows, publish
from recipes.circle_area.driver import SIGNATURE

CIRCLE = find("circle_area")
UV = str(Path(sys.executable).with_name("uv"))


def install(folder: Path, package: str) -> None:
    """Make an environment with the recipe's requirements, MLflow as that package."""
    text = (CIRCLE.path / "requirements.txt").read_text(encoding="utf-8")
    asked = folder.with_suffix(".txt")
    asked.write_text(text.replace("mlflow-skinny", package), encoding="utf-8")
    subprocess.run([UV, "venv", "-q", "-p", sys.executable, folder], check=True)
    python = folder / "bin/python"
    subprocess.run([UV, "pip", "install", "-q", "-p", python, "-r", asked], check=True)


def seconds_to_start(folder: Path, model: Path) -> float:
    """Return the seconds until `mlflow models serve` answers."""
    port, start = free_port(), time.perf_counter()
    words = ["models", "serve", "-m", str(model), "--env-manager", "local"]
    command = [str(folder / "bin/mlflow"), *words, "--port", str(port)]
    path = {"PATH": f"{folder}/bin:/usr/bin:/bin"}
    address = f"http://127.0.0.1:{port}/ping"
    with running_server(command, folder, address, folder / "log", **path):
        return time.perf_counter() - start


if __name__ == "__main__":
    rows: Rows = []
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        code = CIRCLE.path / "model_code.py"
        mlflow.pyfunc.save_model(
            model, python_model=code, signature=SIGNATURE, pip_requirements=[]
        )
        for package in ("mlflow", "mlflow-skinny"):
            install(folder := Path(name) / package, package)
            files = [file for file in folder.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files) / 1e6
            starts = sorted(seconds_to_start(folder, model) for _ in range(3))
            rows.append({"requirement": package, "MB": round(size)})
            rows[-1] |= {"start, s": starts[1], "least": starts[0], "most": starts[2]}
    recipe = str(CIRCLE.path.relative_to(ROOT))
    publish("skinny", {"One environment, one server, three starts": rows}, [recipe])
