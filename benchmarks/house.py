"""`make log-all` beside one run of the plain 101 listing: five recipes against one formula.

python -m benchmarks.house
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import interleave, publish

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ["recipes", "shared/log_all.py", "shared/run.py", "shared/store.py"]

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

with mlflow.start_run():
    model = mlflow.pyfunc.log_model(
        name="model", python_model="circle.py", input_example=[1.0, 2.0]
    )
print(mlflow.pyfunc.load_model(model.model_uri).predict([1.0, 2.0]))
"""


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder whose modules it finds first; its output is thrown away."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def plain_listing() -> None:
    """Log and predict the listing once, in a fresh folder."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "circle.py").write_text(MODEL)
        run([sys.executable, "-c", DRIVER], Path(name))


def log_all() -> None:
    """Run what `make log-all` runs, on copies of recipes/ and shared/: the store is new too."""
    with tempfile.TemporaryDirectory() as name:
        for package in ("recipes", "shared"):
            shutil.copytree(ROOT / package, Path(name) / package)
        run([sys.executable, "-m", "shared.cli", "log-all"], Path(name))


def main() -> None:
    seconds = interleave({"plain listing": plain_listing, "make log-all": log_all}, rounds=3)
    listing = seconds["plain listing"]
    rows = [
        {"what": what, "seconds": s, "times the listing": s / listing}
        for what, s in seconds.items()
    ]
    publish(
        "house", {"Fresh store, environment ready; medians of interleaved runs": rows}, MEASURED
    )


if __name__ == "__main__":
    main()
