"""What a signature costs, and the batch way without it: python -m benchmarks.circle_area"""

import tempfile
from functools import partial
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from benchmarks.report import Rows, interleave, publish
from recipes.circle_area.driver import HERE, SIGNATURE

PINS = str(HERE / "requirements.txt")
TYPED = """
import math, mlflow
class Circle(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[float], params=None) -> list[float]:
        return [math.pi * (d / 2) ** 2 for d in model_input]
mlflow.models.set_model(Circle())
"""


def loaded(code: object, **how: Any) -> Any:
    """Return the model that is this file, as it comes back from where it was saved."""
    with tempfile.TemporaryDirectory() as name:
        mlflow.pyfunc.save_model(
            f"{name}/model", python_model=code, pip_requirements=PINS, **how
        )
        return mlflow.pyfunc.load_model(f"{name}/model")


def cost(models: dict[str, Any]) -> Rows:
    values = np.random.default_rng(0).uniform(0, 100, 1_000_000)
    frame, plain = pd.DataFrame({"diameter": values}), values.tolist()
    rivals = {"bare NumPy, `pi * (d / 2)**2`": lambda: np.pi * (values / 2) ** 2}
    for what, predict in models.items():
        rivals[what] = partial(predict, plain if "list" in what else frame)
    seconds = interleave(rivals, rounds=5)
    bare = min(seconds.values())
    return [
        {"what": w, "ms": 1000 * s, "times bare NumPy": s / bare}
        for w, s in seconds.items()
    ]


if __name__ == "__main__":
    double = ModelSignature(Schema([ColSpec("double", "diameter")]))
    column = loaded(HERE / "model_code.py", signature=SIGNATURE)
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        print(TYPED, file=file, flush=True)
        models = {
            "the batch way": partial(column.unwrap_python_model().predict, None),
            "column `double`": loaded(HERE / "model_code.py", signature=double).predict,
            "column of any type": column.predict,
            "`list[float]` hint": loaded(file.name, input_example=[2.0]).predict,
        }
    publish("circle_area", {"Cost of a prediction of 1,000,000 rows": cost(models)})
