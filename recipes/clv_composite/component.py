"""Answer as one part of the composite: a regression, or the textbook model.

The driver logs this file once for each part, with the parameters it fitted as
`fitted.json`: numbers in place of a pickle. MLflow runs the file at each load.
"""

import json
from numbers import Real
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scipy.special import expit, hyp2f1

DEFAULT_HORIZON = 39.0  # weeks
LONGEST_HORIZON = 520.0  # weeks
Bounds = tuple[float, float]  # least and most
FEATURE: Bounds = (-25, 25)  # all features are logarithms or small ratios
CUSTOMER: dict[str, Bounds] = {
    "frequency": (0, 18_200),  # one order a day for 50 years
    "recency": (0, 2600),  # weeks
    "T": (0, 2600),
    "monetary_value": (0, 1e9),
}


def regression(x: pd.DataFrame, fitted: dict[str, Any]) -> pd.DataFrame:
    """Return exp(intercept + features @ coefficients), and the constants beside it."""
    coefficients = pd.Series(fitted["coefficients"])
    value = np.exp(fitted["intercept"] + x[coefficients.index] @ coefficients)
    return pd.DataFrame({fitted["answers"]: value, **fitted["constants"]})


def textbook(
    customers: pd.DataFrame,
    horizon: float,
    r: float,
    alpha: float,
    a: float,
    b: float,
    p: float,
    q: float,
    v: float,
) -> pd.DataFrame:
    """Return the forecast of BG/NBD (r, alpha, a, b) with Gamma-Gamma (p, q, v)."""
    n = customers["frequency"]
    age = customers["T"]
    # Fader, Hardie, Lee 2005, equation 10; by Euler's transformation its 2F1 doesn't
    # overflow for frequent buyers.
    z = horizon / (alpha + age + horizon)
    decline = (1 - z) ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + n - 1, z)
    log_gone = np.log(a / (b + n.clip(lower=1) - 1))
    log_silent = (r + n) * np.log((alpha + age) / (alpha + customers["recency"]))
    alive = expit(-log_gone - log_silent).where(n > 0, 1)
    orders = alive * (a + b + n - 1) / (a - 1) * (1 - decline)
    value = p * (v + n * customers["monetary_value"]) / (p * n + q - 1)
    return pd.DataFrame({"expected_purchases": orders, "clv": orders * value})


class Component(mlflow.pyfunc.PythonModel):
    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        text = Path(context.artifacts["fitted"]).read_text(encoding="utf-8")
        self.fitted = json.loads(text)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return one row per row of the input, or refuse the request with HTTP 400."""
        try:
            if "coefficients" in self.fitted:
                bounds = dict.fromkeys(self.fitted["coefficients"], FEATURE)
                return regression(checked(model_input, bounds), self.fitted)
            horizon = (params or {}).get("horizon_weeks", DEFAULT_HORIZON)
            check_horizon(horizon)
            customers = checked(model_input, CUSTOMER)
            check_recency(customers)
            return textbook(customers, horizon, **self.fitted)
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None


# The checks: true and "3" are not numbers. The composite checks whole histories.


def check_horizon(horizon: Any) -> None:
    if not 1 / 7 <= as_number(horizon) <= LONGEST_HORIZON:
        raise ValueError(
            f"horizon_weeks {horizon!r:.80}: give a number from 1/7 (a day) "
            f"to {LONGEST_HORIZON:g} weeks"
        )


def checked(table: pd.DataFrame, bounds: dict[str, Bounds]) -> pd.DataFrame:
    """Return the bounded columns as float64; ValueError names row and column."""
    columns = {name: numbers(table, name, *bounds[name]) for name in bounds}
    return pd.DataFrame(columns, index=table.index)


def numbers(table: pd.DataFrame, name: str, least: float, most: float) -> np.ndarray:
    if list(table.columns).count(name) != 1:
        raise ValueError(f"give column '{name}' exactly once")
    cells = table[name]
    if cells.dtype.kind in "iuf":
        values = cells.to_numpy(np.float64, na_value=np.nan)
    else:  # any Python values, as they come in JSON
        values = np.array([as_number(cell) for cell in cells.tolist()], np.float64)
    valid = (values >= least) & (values <= most)
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(
            f"column '{name}', row {table.index.tolist()[row]!r:.80}: got "
            f"{cells.tolist()[row]!r:.80}; give a number from {least:g} to {most:g}"
        )
    return values


def check_recency(customers: pd.DataFrame) -> None:
    valid = customers["recency"] <= customers["T"]
    if not valid.all():
        row = customers.index.tolist()[int(np.argmin(valid))]
        raise ValueError(
            f"columns 'recency' and 'T', row {row!r:.80}: recency must be at most T"
        )


def as_number(cell: Any) -> float:
    """Return a number as float, NaN for anything else: true and "3" are not numbers."""
    if isinstance(cell, bool) or not isinstance(cell, Real):
        return np.nan
    try:
        return float(cell)
    except OverflowError:  # a whole number of more than 308 digits
        return np.inf


mlflow.models.set_model(Component())
