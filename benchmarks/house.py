"""`make log-all` beside one run of the plain 101 listing."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from shared.recipes import ROOT

from benchmarks.report import interleave, publish

# The well-known listing as it stands: untyped, default store, requirements inferred.
MODEL = """
import math
import mlflow

class CircleArea(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [math.pi * (r ** 2) for r in model_input]

mlflow.models.set_model(CircleArea())
"""
DRIVER = """
import mlflow
example = [1.0, 2.0]
with mlflow.start_run():
    model = mlflow.pyfunc.log_model(
        name="model", python_model="circle.py", input_example=example
    )
print(mlflow.pyfunc.load_model(model.model_uri).predict([1.0, 2.0]))
"""


def fresh(*command: str) -> None:
    """Run a command in a new folder with the listing, recipes/ and shared/."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "circle.py").write_text(MODEL)
        for package in ("recipes", "shared"):
            shutil.copytree(ROOT / package, Path(name) / package)
        alone = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        alone |= {"PYTHONPATH": name, "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = (sys.executable, *command)
        subprocess.run(command, cwd=name, env=alone, check=True, capture_output=True)


if __name__ == "__main__":
    ways = {
        "plain listing": ["-c", DRIVER],
        "make log-all": ["-m", "shared.cli", "log-all"],
    }
    seconds = interleave(
        {way: partial(fresh, *words) for way, words in ways.items()}, rounds=3
    )
    plain = seconds["plain listing"]
    rows = [
        {"what": w, "seconds": s, "times as long as the listing": s / plain}
        for w, s in seconds.items()
    ]
    tables = {"Fresh store, environment ready; medians of interleaved runs": rows}
    publish(
        "house",
        tables,
        ["recipes", *(f"shared/{n}.py" for n in ("forks", "log_all", "run", "store"))],
    )
