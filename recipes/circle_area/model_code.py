"""Compute the area of circles from their diameter: metres give square metres.

This file is the model: `driver.py` logs it by its path, MLflow stores its text and runs
it at each load. The last line says which object is the model.
"""

from typing import Any

import mlflow
import numpy as np
import pandas as pd

SHORTEST = 0  # set it above 0 if your formula divides by a length
LONGEST = 10**9  # a longer one is taken for a mistake, and products stay finite


def area(diameter: np.ndarray) -> np.ndarray:
    """Return the areas, float64 (n,), of circles with these diameters, float64 (n,)."""
    return np.pi * diameter**2 / 4


class CircleArea(mlflow.pyfunc.PythonModel):
    """Take n rows with a `diameter` each; answer with n rows of `area`."""

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return the areas under the input's index."""
        diameter = check_lengths(model_input["diameter"])
        return pd.DataFrame({"area": area(diameter)}, index=model_input.index)


# The check: what counts as a length, and what to say of anything else.


def is_length(value: Any) -> bool:
    """Tell a number in the range from anything else, such as True, "3" or NaN.

    A column of float64 or int64 hands out Python's own float and int.
    """
    return type(value) in (int, float) and SHORTEST <= value <= LONGEST


def check_lengths(column: pd.Series) -> np.ndarray:
    """Return a column as float64 (n,); MlflowException (HTTP 400) names a bad row."""
    for row, value in column.items():
        if not is_length(value):
            raise mlflow.MlflowException.invalid_parameter_value(
                f"column '{column.name}', row {row!r:.80}: {value!r:.80} is not a "
                f"length; give a number from {SHORTEST} to {LONGEST}"
            )
    return column.to_numpy(dtype=np.float64)


mlflow.models.set_model(CircleArea())
