"""Area of circles from their diameter or their radius, in the square of the unit that comes in."""

from typing import Annotated, Any

import mlflow
import numpy as np
import pandas as pd
from pydantic import FailFast, Field, TypeAdapter, ValidationError

LONGEST = 1e153  # the area of a larger circle overflows a double
# Strict, or True would count as 1 and "3" as 3.
LENGTHS = TypeAdapter(
    Annotated[list[Annotated[float, Field(strict=True, ge=0, le=LONGEST)]], FailFast()]
)


def area(radius: np.ndarray) -> np.ndarray:
    """Return the areas, float64 (n,), of circles whose radii are `radius`, float64 (n,)."""
    return np.pi * radius**2


def lengths(column: pd.Series) -> np.ndarray:
    """Return `column` as float64 (n,); ValueError names the first row whose value is no length."""
    if column.dtype.kind in "iuf":  # numbers already
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        good = (values >= 0) & (values <= LONGEST)  # NaN is neither
        if good.all():
            return values
        row = int(good.argmin())
        got = values[row].item()
    else:
        plain = [
            cell.item() if isinstance(cell, np.generic) else cell for cell in column
        ]
        try:
            return np.array(LENGTHS.validate_python(plain), dtype=np.float64)
        except ValidationError as error:
            row = int(error.errors()[0]["loc"][0])
            got = plain[row]
    raise ValueError(
        f"column '{column.name}', row {column.index.tolist()[row]!r:.80}: "
        f"{got!r:.80} is no length; give a number from 0 to {LONGEST:g}"
    )


def radii(frame: pd.DataFrame) -> np.ndarray:
    """Return the radius of each row, float64 (n,), from the one column of the two that gives it."""
    names = [name for name in frame if name in ("diameter", "radius")]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"give a column 'diameter' or 'radius', each once; got {names}"
        )
    given = frame[names].notna().to_numpy()
    wrong = given.sum(axis=1) != 1
    if wrong.any():
        row = frame.index.tolist()[wrong.argmax()]
        raise ValueError(
            f"row {row!r:.80}: give 'diameter' or 'radius', one of the two"
        )
    radius = np.empty(len(frame))
    for name, rows in zip(names, given.T, strict=True):
        radius[rows] = lengths(frame[name][rows]) / (2 if name == "diameter" else 1)
    return radius


class CircleArea(mlflow.pyfunc.PythonModel):
    """Take `diameter` or `radius`, one of the two in each of n rows; answer with `area`, n rows."""

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the areas under the input's index; MlflowException (HTTP 400) names a bad row."""
        try:
            answer = {"area": area(radii(model_input))}
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(answer, index=model_input.index)


mlflow.models.set_model(CircleArea())
