"""Forecast what each customer will spend in the coming weeks, out of four fitted parts.

Three are regressions: when the next order comes (`retention`), how many orders a week
there are after it (`frequency`), and what an order is worth (`aov`). The fourth is the
`textbook` model of the field, BG/NBD with Gamma-Gamma.

The driver logs this file by its path; MLflow stores its text beside the parts and runs
it at each load. The last line names the model.
"""

from numbers import Real
from typing import Any, Literal, NamedTuple

import mlflow
import numpy as np
import pandas as pd
from scipy.special import ndtr

DEFAULT_HORIZON = 39.0  # weeks
LONGEST_HORIZON = 520.0  # weeks; today's history says nothing about ten years from now
LONGEST_HISTORY = 2600  # weeks, or 50 years
HIGHEST_VALUE = 1e9  # of an order, in any currency


class Column(NamedTuple):
    meaning: str
    kind: Literal["number", "whole number"]
    most: float


# One row per customer, as of a cutoff day. All orders of one day count as one order.
COLUMNS = {
    "frequency": Column(
        "orders after the first one", "whole number", 7 * LONGEST_HISTORY
    ),
    "recency": Column(
        "weeks from the first to the last order", "number", LONGEST_HISTORY
    ),
    "T": Column("weeks from the first order to the cutoff", "number", LONGEST_HISTORY),
    "monetary_value": Column(
        "mean value of the orders after the first one", "number", HIGHEST_VALUE
    ),
    "first_order_value": Column("value of the first order", "number", HIGHEST_VALUE),
    "orders_4w": Column("orders in the last 4 weeks", "whole number", 7 * 4),
    "orders_13w": Column("orders in the last 13 weeks", "whole number", 7 * 13),
}


def features(customers: pd.DataFrame) -> pd.DataFrame:
    """Return the nine columns that the regressions learn from, one row per customer."""
    repeats = customers["frequency"]
    age = customers["T"]
    since = (age - customers["recency"]).clip(lower=0)  # weeks may come rounded
    spent = customers["first_order_value"] + repeats * customers["monetary_value"]
    # No gap is longer than a customer's age: those of new customers look too short.
    mean_gap = (age + 8) / (repeats + 1)
    # A prior of 0.25 orders in 4.4 weeks: the published r and alpha of BG/NBD on CDNOW.
    rate = (repeats + 0.25) / (age + 4.4)
    return pd.DataFrame(
        {
            "log_repeats": np.log1p(repeats),
            "has_repeat": (repeats > 0).astype(float),
            "log_since": np.log1p(since),
            "log_age": np.log1p(age),
            "since_per_gap": (since / mean_gap).clip(upper=20),
            "log_rate": np.log(rate),
            "log_order_value": np.log1p(spent / (repeats + 1)),
            "log_orders_4w": np.log1p(customers["orders_4w"]),
            "log_orders_13w": np.log1p(customers["orders_13w"]),
        }
    )


def z_score(wait: pd.DataFrame, horizon: float) -> pd.Series:
    """Return (log(horizon) - log(median)) / sigma for each customer.

    `wait` holds the distribution of the weeks to a customer's next order: it is
    log-normal, with the columns `median` and `sigma`.
    """
    return (np.log(horizon) - np.log(wait["median"])) / wait["sigma"]


def return_probability(wait: pd.DataFrame, horizon: float) -> pd.Series:
    """Return the probability that the next order comes within `horizon` weeks."""
    return ndtr(z_score(wait, horizon))


def expected_orders(
    wait: pd.DataFrame, weekly_rate: pd.Series, horizon: float
) -> pd.Series:
    """Return the expected number of orders within `horizon` weeks.

    The next order comes after W weeks, and then `weekly_rate` orders in each week:
    E[orders] = P(W <= horizon) + weekly_rate * E[max(horizon - W, 0)].
    """
    p_return = return_probability(wait, horizon)
    # The partial expectation of a log-normal W: its mean, with 0 where W > horizon.
    sigma = wait["sigma"]
    mean = wait["median"] * np.exp(sigma**2 / 2)
    partial_mean = mean * ndtr(z_score(wait, horizon) - sigma)
    # E[max(horizon - W, 0)] = horizon * P(W <= horizon) - partial expectation
    weeks_left = (horizon * p_return - partial_mean).clip(lower=0)
    orders = p_return + weekly_rate * weeks_left
    return orders.clip(upper=7 * horizon)  # one order a day


class CustomerLifetimeValue(mlflow.pyfunc.PythonModel):
    """Take a row of COLUMNS per customer; answer with a row per customer.

    `clv` is what the customer will spend within `horizon_weeks`, in
    `expected_purchases` orders of the mean value `aov`. `p_return` is the probability
    of at least one order. It comes from `retention`, the others are averages of the
    regressions and the textbook model.
    """

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        self.parts = {}
        for name, path in context.artifacts.items():
            part = mlflow.pyfunc.load_model(path)
            # A part is a PythonModel too, taken without MLflow's checks of its input:
            # the composite makes that.
            self.parts[name] = part.unwrap_python_model()

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return one row per customer, or refuse the request with HTTP 400."""
        horizon = (params or {}).get("horizon_weeks", DEFAULT_HORIZON)
        try:
            check_horizon(horizon)
            customers = checked(model_input)
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None

        x = features(customers)
        wait = self.parts["retention"].predict(None, x)
        weekly_rate = self.parts["frequency"].predict(None, x)["rate"]
        order_value = self.parts["aov"].predict(None, x)["order_value"]
        orders = expected_orders(wait, weekly_rate, horizon)
        clv = orders * order_value

        # The textbook model, BG/NBD with Gamma-Gamma, is not there if it could not be
        # fitted. It mostly forecasts too little, the regressions too much: average.
        if "textbook" in self.parts:
            weeks = {"horizon_weeks": horizon}
            textbook = self.parts["textbook"].predict(None, customers, weeks)
            orders = (orders + textbook["expected_purchases"]) / 2
            clv = (clv + textbook["clv"]) / 2

        answer = pd.DataFrame(
            {
                "clv": clv,
                "expected_purchases": orders,
                "aov": clv / orders,  # so that clv is orders times aov
                "p_return": return_probability(wait, horizon),
                "horizon_weeks": horizon,
            }
        )
        answer.index = model_input.index
        return answer


# The checks: each row must be one that some history of orders can give.


def check_horizon(horizon: Any) -> None:
    if not 1 / 7 <= as_number(horizon) <= LONGEST_HORIZON:
        raise ValueError(
            f"horizon_weeks {horizon!r:.80}: give a number from 1/7 (a day) "
            f"to {LONGEST_HORIZON:g} weeks"
        )


def checked(customers: pd.DataFrame) -> pd.DataFrame:
    """Return COLUMNS as float64; ValueError names the row and columns at fault."""
    table = pd.DataFrame({name: read_column(customers, name) for name in COLUMNS})
    check_histories(table, customers.index)
    return table


def read_column(customers: pd.DataFrame, name: str) -> np.ndarray:
    """Return the column as float64; ValueError names the first row out of bounds."""
    column = COLUMNS[name]
    if list(customers.columns).count(name) != 1:
        raise ValueError(f"give column '{name}' exactly once: {column.meaning}")
    cells = customers[name]
    if cells.dtype.kind in "iuf":
        values = cells.to_numpy(np.float64, na_value=np.nan)
    else:  # any Python values, as they come in JSON
        values = np.array([as_number(cell) for cell in cells.tolist()], np.float64)
    is_valid = (values >= 0) & (values <= column.most)
    if column.kind == "whole number":
        is_valid &= values % 1 == 0
    if not is_valid.all():
        row = int(np.argmin(is_valid))  # the first that is not
        raise ValueError(
            f"column '{name}', row {customers.index.tolist()[row]!r:.80}: "
            f"got {cells.tolist()[row]!r:.80}; {column.meaning} must be "
            f"a {column.kind} from 0 to {column.most:g}"
        )
    return values


def as_number(cell: Any) -> float:
    """Return a number as float, NaN for anything else: true and "3" are not numbers."""
    if isinstance(cell, bool) or not isinstance(cell, Real):
        return np.nan
    try:
        return float(cell)
    except OverflowError:  # a whole number of more than 308 digits
        return np.inf


class Rule(NamedTuple):
    columns: list[str]
    is_kept: pd.Series
    sentence: str


def check_histories(c: pd.DataFrame, index: pd.Index) -> None:
    """Raise ValueError for a row that no history of orders gives."""
    for rule in history_rules(c):
        if not rule.is_kept.all():
            row = int(np.argmin(rule.is_kept))  # the first that breaks it
            values = [f"{name} {c[name].iloc[row]:g}" for name in rule.columns]
            raise ValueError(
                f"columns {rule.columns}, row {index.tolist()[row]!r:.80}: "
                f"{', '.join(values)} contradict each other; {rule.sentence}"
            )


def history_rules(c: pd.DataFrame) -> list[Rule]:
    """Return what must hold between columns, with at most one order a day.

    The rules count in days, since weeks may come rounded.
    """
    orders = c["frequency"] + 1
    age = (7 * c["T"]).round()
    span = (7 * c["recency"]).round()  # days from the first to the last order
    since = age - span  # days from the last order to the cutoff
    # Orders lie on `days` days, the last of them `since` days before the cutoff. So
    # 28 - since of these days, at most all of them, are in the last 4 weeks.
    days = span + 1
    days_4w = (4 * 7 - since).clip(0, days)
    days_13w = (13 * 7 - since).clip(0, days)
    orders_before_4w = orders - c["orders_4w"]
    orders_before_13w = orders - c["orders_13w"]
    return [
        Rule(["recency", "T"], span <= age, "recency must be at most T"),
        Rule(
            ["frequency", "recency"],
            fits(c["frequency"], span),  # on the days after the first order's
            "frequency must be from 1 to 7 * recency, or both must be 0",
        ),
        Rule(
            ["monetary_value", "frequency"],
            (c["monetary_value"] == 0) | (c["frequency"] > 0),
            "monetary_value must be 0 where frequency is 0",
        ),
        Rule(
            ["orders_4w", "T", "recency"],
            fits(c["orders_4w"], days_4w),
            "orders_4w must be at least 1 if T - recency is below 4 weeks, else 0, "
            "and at most one order a day",
        ),
        Rule(
            ["orders_13w", "T", "recency"],
            fits(c["orders_13w"], days_13w),
            "orders_13w must be at least 1 if T - recency is below 13 weeks, else 0, "
            "and at most one order a day",
        ),
        Rule(
            ["orders_4w", "frequency", "T"],
            fits(orders_before_4w, days - days_4w),
            "the orders before the last 4 weeks, frequency + 1 - orders_4w, must be "
            "0 if T is below 4 weeks, else at least 1 and at most one a day",
        ),
        Rule(
            ["orders_13w", "frequency", "T"],
            fits(orders_before_13w, days - days_13w),
            "the orders before the last 13 weeks, frequency + 1 - orders_13w, must be "
            "0 if T is below 13 weeks, else at least 1 and at most one a day",
        ),
        Rule(
            ["orders_13w", "orders_4w"],
            (c["orders_13w"] - c["orders_4w"]).between(0, days_13w - days_4w),
            "orders_13w must be at least orders_4w, with at most one a day between",
        ),
    ]


def fits(orders: pd.Series, days: pd.Series) -> pd.Series:
    """Tell for each customer whether the days can hold the orders, one a day at most.

    Each caller's days include that of the first or of the last order counted, so they
    hold at least one order, unless there are no days.
    """
    at_least = days.clip(upper=1)
    return (orders >= at_least) & (orders <= days)


mlflow.models.set_model(CustomerLifetimeValue())
