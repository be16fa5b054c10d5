"""circle_area served in an environment with mlflow, and in one with mlflow-skinny."""

import os
import sys
import tempfile
import time
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import find

from benchmarks import circle_area
from benchmarks.pythons import make_environment
from benchmarks.report import Rows, publish

PINS = find("circle_area").path / "requirements.txt"
REQUIREMENTS = PINS.read_text(encoding="utf-8")


def seconds_to_start(environment: Path, model: str) -> float:
    """Return the seconds until `mlflow models serve` answers."""
    port, start = free_port(), time.perf_counter()
    words = ["models", "serve", "-m", model, "--env-manager", "local"]
    command = [str(environment / "bin/mlflow"), *words, "--port", str(port)]
    address, log = f"http://127.0.0.1:{port}/ping", Path(os.devnull)
    path = f"{environment}/bin:/usr/bin:/bin"
    with running_server(command, environment, address, log, PATH=path):
        return time.perf_counter() - start


if __name__ == "__main__":
    rows: Rows = []
    with tempfile.TemporaryDirectory() as name:
        circle_area.save(model := f"{name}/model", pip_requirements=[])
        for package in ("mlflow", "mlflow-skinny"):
            folder, asked = Path(name) / package, Path(name) / f"{package}.txt"
            asked.write_text(REQUIREMENTS.replace("mlflow-skinny", package), "utf-8")
            make_environment(folder, sys.executable, "-r", str(asked))
            files = [file for file in folder.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files) / 1e6
            starts = sorted(seconds_to_start(folder, model) for _ in range(3))
            rows.append({"requirement": package, "MB": round(size)})
            rows[-1] |= {"start, s": starts[1], "least": starts[0], "most": starts[2]}
    tables = {"One environment, one server, three starts": rows}
    publish("skinny", tables, ["recipes/circle_area"])
