"""Customer lifetime value over any horizon, composed of registered models."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scipy.special import log_ndtr, ndtr

NUMBER = (int, float, np.integer, np.floating)
# One row per customer, as of a cutoff: what each column is and the most it can be, an order a day
# for 50 years at a billion of any currency.
WEEKS, PER_WEEK, MONEY = 2600, 7, 1e9
COLUMNS = {
    "frequency": ("orders after the first one, one a day", PER_WEEK * WEEKS),
    "recency": ("weeks from the first to the last order", WEEKS),
    "T": ("weeks from the first order to the cutoff", WEEKS),
    "monetary_value": ("mean value of the orders after the first one", MONEY),
    "first_order_value": ("value of the first order", MONEY),
    "orders_4w": ("orders in the last 4 weeks before the cutoff", PER_WEEK * 4),
    "orders_13w": ("orders in the last 13 weeks before the cutoff", PER_WEEK * 13),
}
LONGEST = (
    520  # weeks; what a customer does in ten years' time no history of today tells
)


def checked(customers: pd.DataFrame) -> pd.DataFrame:
    """Return COLUMNS as float64; ValueError names column, row and rule of a bad value."""
    c = pd.DataFrame(index=customers.index)

    def check(name: str, good: Any, rule: str) -> None:
        if not np.all(good):
            row, cells = int(np.argmin(good)), customers[name].tolist()
            at = f"column '{name}', row {customers.index.tolist()[row]!r:.80}"
            raise ValueError(
                f"{at}: got {cells[row]!r:.80}; {COLUMNS[name][0]} must be {rule}"
            )

    for name, (meaning, most) in COLUMNS.items():
        if list(customers).count(name) != 1:
            raise ValueError(f"column '{name}' is needed, once: {meaning}")
        cells = customers[name].tolist()
        good = [
            isinstance(v, NUMBER) and not isinstance(v, bool) and 0 <= v <= most
            for v in cells
        ]
        check(name, good, f"a number from 0 to {most:g}")
        c[name] = np.array(cells, dtype=np.float64)
        check(
            name, not meaning.startswith("orders") or c[name] % 1 == 0, "a whole number"
        )
    n, again, recency = c["frequency"], c["frequency"] > 0, c["recency"]
    known = ((recency > 0) == again) & (recency <= c["T"])
    check("recency", known, "more than 0 and at most T where frequency > 0, else 0")
    check(
        "frequency", n <= PER_WEEK * recency + 1, "at most 7 a week"
    )  # + 1: weeks are rounded
    check(
        "monetary_value", again | (c["monetary_value"] == 0), "0 where frequency is 0"
    )
    recent = c["orders_13w"].between(c["orders_4w"], n + 1)
    check("orders_13w", recent, "from orders_4w to frequency + 1")
    return c


def features(c: pd.DataFrame) -> pd.DataFrame:
    """Return what the regressions see of `checked` customers, float64 (n, 9)."""
    n, age, mean, since = (
        c["frequency"],
        c["T"],
        c["monetary_value"],
        c["T"] - c["recency"],
    )
    return pd.DataFrame(
        {
            "log_repeats": np.log1p(n),
            "has_repeat": (n > 0).astype(float),
            "log_since": np.log1p(since),
            "log_age": np.log1p(age),
            "since_per_gap": (since * (n + 1) / (age + 8)).clip(
                upper=20
            ),  # + 8: new customers
            "log_rate": np.log((n + 0.25) / (age + 4.4)),  # close to the BG/NBD prior
            "log_order_value": np.log1p((c["first_order_value"] + n * mean) / (n + 1)),
            "log_orders_4w": np.log1p(c["orders_4w"]),
            "log_orders_13w": np.log1p(c["orders_13w"]),
        }
    )


def expected_orders(
    wait: pd.DataFrame, rate: np.ndarray, horizon: float
) -> tuple[Any, Any]:
    """Return P(W <= H) and E[orders in H weeks] = P(W <= H) + rate * E[max(H - W, 0)], each (n,).

    The weeks W to the next order are log-normal, `wait` has its `median` and `sigma`; `rate` is
    the orders per week after it. E[max(H - W, 0)] is the Black-Scholes integral.
    """
    location, sigma = np.log(wait["median"].to_numpy()), wait["sigma"].to_numpy()
    z = (np.log(horizon) - location) / sigma
    left = horizon * ndtr(z) - np.exp(location + sigma**2 / 2 + log_ndtr(z - sigma))
    return ndtr(z), np.minimum(ndtr(z) + rate * left.clip(0), PER_WEEK * horizon)


class CustomerLifetimeValue(mlflow.pyfunc.PythonModel):
    """Take COLUMNS of n customers and `horizon_weeks`; answer with their value and its parts."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        self.parts = {
            n: mlflow.pyfunc.load_model(path) for n, path in context.artifacts.items()
        }

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return the values under the input's index; MlflowException (HTTP 400) names a bad row."""
        horizon: float = (params or {}).get("horizon_weeks", 39.0)
        try:
            if not isinstance(horizon, NUMBER) or not 1 / 7 <= horizon <= LONGEST:
                raise ValueError(
                    f"horizon_weeks {horizon!r:.80}: give 1/7 to {LONGEST} weeks"
                )
            customers = checked(model_input)
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        x = features(customers)
        rate, aov = (
            np.ravel(self.parts[name].predict(x)) for name in ("frequency", "aov")
        )
        back, orders = expected_orders(
            self.parts["retention"].predict(x), rate, horizon
        )
        clv = orders * aov
        if (
            "textbook" in self.parts
        ):  # the mean of two forecasts that err in opposite ways
            other = self.parts["textbook"].predict(
                customers, params={"horizon_weeks": horizon}
            )
            orders = (orders + other["expected_purchases"]) / 2
            clv = (clv + other["clv"]) / 2
        answer = {
            "clv": clv,
            "expected_purchases": orders,
            "aov": clv / orders,
            "p_return": back,
        }
        return pd.DataFrame(
            {**answer, "horizon_weeks": horizon}, index=model_input.index
        )


mlflow.models.set_model(CustomerLifetimeValue())
