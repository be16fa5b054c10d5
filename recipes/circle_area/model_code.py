"""Area of circles from their diameter or their radius, in the square of the unit that comes in."""

from numbers import Real
from typing import Any

import mlflow
import numpy as np
import pandas as pd

LONGEST = 1e153  # the area of a larger circle overflows a double


def area(radius: np.ndarray) -> np.ndarray:
    """Return the areas, float64 (n,), of circles whose radii are `radius`, float64 (n,)."""
    return np.pi * radius**2


def lengths(column: pd.Series) -> np.ndarray:
    """Return `column` as float64, shape (n,).

    Raises ValueError naming the first row that is not a length: text, a boolean, missing,
    infinite, too long or negative. Left alone, Python counts True as 1 and JSON's null is NaN.
    """
    if column.dtype.kind not in "iuf":  # text, booleans or a mixture: look at each value
        for row, value in column.items():
            missing = value is None or value is pd.NA
            if not missing and (isinstance(value, bool) or not isinstance(value, Real)):
                raise ValueError(f"column '{column.name}', row {row!r}: {value!r} is not a number")
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    # Written so that NaN fails it too; two passes over the data when all is well.
    if len(values) and not (values.min() >= 0 and values.max() <= LONGEST):
        first = int(np.argmin((values >= 0) & (values <= LONGEST)))
        raise ValueError(
            f"column '{column.name}', row {column.index[first]!r}: {values[first]} is no length; "
            f"give a number from 0 to {LONGEST:g}"
        )
    return values


class CircleArea(mlflow.pyfunc.PythonModel):
    """Take one column, `diameter` or `radius` (n rows); answer with one column, `area` (n rows)."""

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the areas under the input's index; MlflowException (HTTP 400) names a bad row."""
        given = [name for name in ("diameter", "radius") if name in model_input]
        try:
            if len(given) != 1:
                got = " and ".join(given) or "neither"
                raise ValueError(f"give one column, 'diameter' or 'radius'; got {got}")
            values = lengths(model_input[given[0]])
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        areas = area(values / 2 if given == ["diameter"] else values)
        return pd.DataFrame({"area": areas}, index=model_input.index)


mlflow.models.set_model(CircleArea())
