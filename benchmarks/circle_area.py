"""What a signature costs: the column signature beside list[float] and the untyped listing.

python -m benchmarks.circle_area
"""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from benchmarks.report import Rows, interleave, publish
from recipes.circle_area.driver import HERE, SIGNATURE

TYPED = """
import math
import mlflow

class Circle(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[float], params=None) -> list[float]:
        return [math.pi * (d / 2) ** 2 for d in model_input]

mlflow.models.set_model(Circle())
"""
PINS = ["mlflow==3.17.2"]


def listing(diameters: list[float]) -> list[float]:
    """The loop of the well-known listing, mended to take the diameter."""
    return [np.pi * (d / 2) ** 2 for d in diameters]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "typed.py").write_text(TYPED)
        example = pd.DataFrame({"diameter": [2.0]})
        mlflow.pyfunc.save_model(
            folder / "column",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=PINS,
        )
        mlflow.pyfunc.save_model(
            folder / "double",
            python_model=HERE / "model_code.py",
            input_example=example,
            signature=ModelSignature(Schema([ColSpec("double", "diameter")])),
            pip_requirements=PINS,
        )
        mlflow.pyfunc.save_model(
            folder / "list",
            python_model=folder / "typed.py",
            input_example=[2.0],
            pip_requirements=PINS,
        )
        column = mlflow.pyfunc.load_model(str(folder / "column"))
        double = mlflow.pyfunc.load_model(str(folder / "double"))
        typed = mlflow.pyfunc.load_model(str(folder / "list"))

    unwrapped = column.unwrap_python_model()

    def cost(n: int, rounds: int) -> Rows:
        values = np.random.default_rng(0).uniform(0, 100, n)
        frame, as_list = pd.DataFrame({"diameter": values}), values.tolist()
        seconds = interleave(
            {
                "bare NumPy, `pi * (d / 2)**2`": lambda: np.pi * (values / 2) ** 2,
                "the batch way, `unwrap_python_model().predict` (ours)": lambda: unwrapped.predict(
                    None, frame
                ),
                "loaded model, column `double`": lambda: double.predict(frame),
                "loaded model, column of any type (ours)": lambda: column.predict(frame),
                "Python loop, no MLflow": lambda: listing(as_list),
                "loaded model, `list[float]` hint": lambda: typed.predict(as_list),
            },
            rounds,
        )
        bare = next(iter(seconds.values()))
        return [
            {"rows": n, "what": what, "ms": 1000 * s, "times bare NumPy": s / bare}
            for what, s in seconds.items()
        ]

    publish("circle_area", {"Cost of a prediction": cost(100_000, 15) + cost(1_000_000, 5)})


if __name__ == "__main__":
    main()
