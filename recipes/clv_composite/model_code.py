"""Customer lifetime value over any horizon, composed of retention, frequency and order value."""

from numbers import Real
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scipy.special import log_ndtr, ndtr

# One row per customer, as of a cutoff date; the first four are the summary that the field uses.
COLUMNS = {
    "frequency": "orders after the first one; orders of one day count as one",
    "recency": "weeks from the first to the last order",
    "T": "weeks from the first order to the cutoff",
    "monetary_value": "mean value of the orders after the first one, 0 if there are none",
    "first_order_value": "value of the first order",
    "items_per_order": "mean number of items, over all orders",
    "orders_4w": "orders in the last 4 weeks before the cutoff",
    "orders_13w": "orders in the last 13 weeks before the cutoff",
}
RULES = {
    "frequency": ("a whole number", lambda c: c["frequency"] % 1 == 0),
    "recency": (
        "more than 0 and at most T where frequency > 0, else 0",
        lambda c: ((c["recency"] > 0) == (c["frequency"] > 0)) & (c["recency"] <= c["T"]),
    ),
    "monetary_value": (
        "0 where frequency is 0",
        lambda c: (c["frequency"] > 0) | (c["monetary_value"] == 0),
    ),
    "orders_4w": ("a whole number", lambda c: c["orders_4w"] % 1 == 0),
    "orders_13w": (
        "a whole number from orders_4w to frequency + 1",
        lambda c: (
            (c["orders_13w"] % 1 == 0) & c["orders_13w"].between(c["orders_4w"], c["frequency"] + 1)
        ),
    ),
}


def checked(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of COLUMNS as float64.

    Raises ValueError naming column and row of the first value that is not a finite number >= 0
    (Python would count True as 1) or contradicts another column.
    """
    values = {}
    for name in COLUMNS:
        if name not in customers:
            raise ValueError(f"column '{name}' is missing: {COLUMNS[name]}")
        column = customers[name]
        if column.dtype.kind not in "iuf":
            for row, value in column.items():
                missing = value is None or value is pd.NA
                if not missing and (isinstance(value, bool) or not isinstance(value, Real)):
                    raise ValueError(f"column '{name}', row {row!r}: {value!r} is not a number")
        values[name] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    table = pd.DataFrame(values, index=customers.index)
    positive = {name: ("a number >= 0", np.isfinite(c) & (c >= 0)) for name, c in values.items()}
    related = {name: (rule, holds(table)) for name, (rule, holds) in RULES.items()}
    for name, (rule, good) in [*positive.items(), *related.items()]:
        if not good.all():
            at = int(np.argmin(good))
            raise ValueError(
                f"column '{name}', row {table.index[at]!r}: got {table[name].iloc[at]:g}; "
                f"{COLUMNS[name]} must be {rule}"
            )
    return table


def features(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the ten features of the three models, float64 (n, 10), from `checked` customers."""
    repeats, age = customers["frequency"], customers["T"]
    since = age - customers["recency"]
    usual_gap = (age + 8) / (repeats + 1)  # weeks; + 8 keeps the gap of new customers finite
    spent = customers["first_order_value"] + repeats * customers["monetary_value"]
    return pd.DataFrame(
        {
            "log_repeats": np.log1p(repeats),
            "has_repeat": (repeats > 0).astype(float),
            "log_since": np.log1p(since),
            "log_age": np.log1p(age),
            "since_per_gap": since / usual_gap,
            "log_rate": np.log((repeats + 0.25) / (age + 4.4)),  # close to the BG/NBD prior
            "log_order_value": np.log1p(spent / (repeats + 1)),
            "log_items": np.log1p(customers["items_per_order"]),
            "log_orders_4w": np.log1p(customers["orders_4w"]),
            "log_orders_13w": np.log1p(customers["orders_13w"]),
        }
    )


def compose(
    timing: pd.DataFrame, rate: np.ndarray, aov: np.ndarray, horizon_weeks: float
) -> pd.DataFrame:
    """Return clv, expected_purchases, aov, p_return and horizon_weeks, float64 (n, 5).

    The weeks W to the next order are log-normal (`location`, `scale`), `rate` is the orders per
    week after it and `aov` the value of an order. With Phi the normal distribution function,
    E[orders] = P(W <= H) + rate * E[max(H - W, 0)] and E[max(H - W, 0)] =
    H Phi(z) - exp(location + scale^2 / 2) Phi(z - scale), z = (ln H - location) / scale:
    the Black-Scholes integral, exact for any horizon H > 0.
    """
    location, scale = timing["location"].to_numpy(), timing["scale"].to_numpy()
    z = (np.log(horizon_weeks) - location) / scale
    p_return = ndtr(z)
    weeks_left = horizon_weeks * p_return - np.exp(location + scale**2 / 2 + log_ndtr(z - scale))
    purchases = p_return + rate * weeks_left
    parts = {"clv": aov * purchases, "expected_purchases": purchases, "aov": aov}
    parts |= {"p_return": p_return, "horizon_weeks": horizon_weeks}
    return pd.DataFrame(parts, index=timing.index)


class CustomerLifetimeValue(mlflow.pyfunc.PythonModel):
    """Take the columns of COLUMNS (n customers) and `horizon_weeks`; answer as `compose` does."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load the three models that were copied into this one when it was logged."""
        self.parts = {
            name: mlflow.pyfunc.load_model(path) for name, path in context.artifacts.items()
        }

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the values under the input's index; MlflowException (HTTP 400) names a bad row."""
        horizon = float((params or {}).get("horizon_weeks", 39))
        try:
            if not 0 < horizon < np.inf:
                raise ValueError(f"param 'horizon_weeks': {horizon} is not a number of weeks > 0")
            x = features(checked(model_input))
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        if x.empty:
            empty = np.empty(0)
            return compose(x.reindex(columns=["location", "scale"]), empty, empty, horizon)
        timing, rate, aov = (
            self.parts[name].predict(x) for name in ("retention", "frequency", "aov")
        )
        return compose(timing, rate, aov, horizon)


mlflow.models.set_model(CustomerLifetimeValue())
