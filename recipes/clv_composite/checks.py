"""Compare the orders with CUTOFF and HORIZON before anything is fitted or logged.

Each check raises ValueError with one sentence that says what to change.
"""

import math
from numbers import Real
from typing import Any

import pandas as pd

WEEK = pd.Timedelta(weeks=1)
LONGEST_HORIZON = 520  # weeks, the model's own limit
# Measured in benchmarks/clv_composite.py: with 300 of CDNOW's customers, of whom 72 to
# 100 returned, the worst total of 20 samples was 40 % off; with 200 it was 193 %.
LEAST_CUSTOMERS = 300
LEAST_RETURNERS = 70


def check_settings(cutoff: Any, horizon: Any) -> None:
    """Check CUTOFF and HORIZON by themselves."""
    if (
        not isinstance(cutoff, pd.Timestamp)
        or cutoff.tz
        or cutoff != cutoff.normalize()
    ):
        raise ValueError(
            f"CUTOFF is {cutoff!r:.80}: set the last day of the orders to learn from, "
            "without time or time zone, such as pd.Timestamp('1997-09-30')"
        )
    number = isinstance(horizon, Real) and not isinstance(horizon, bool)
    if not number or not 1 / 7 <= horizon <= LONGEST_HORIZON:
        raise ValueError(
            f"HORIZON is {horizon!r:.80}: set 1/7 (a day) to {LONGEST_HORIZON} weeks; "
            "today's history says nothing about ten years from now"
        )


def scored_weeks(orders: pd.DataFrame, cutoff: pd.Timestamp, horizon: float) -> float:
    """Return how many of the `horizon` weeks after the cutoff the orders cover.

    `orders` are those of `daily_orders`.
    """
    if orders.empty:
        raise ValueError("there are no orders: let `load` return some")
    if orders["value"].sum() <= 0:
        raise ValueError(
            "all orders have the value 0: column 'value' must hold what was paid"
        )
    first = orders["date"].min()
    last = orders["date"].max()
    if first > cutoff:
        raise ValueError(
            f"no order before CUTOFF {cutoff:%Y-%m-%d}: the orders begin on "
            f"{first:%Y-%m-%d} and end on {last:%Y-%m-%d}; set a later CUTOFF"
        )
    if last <= cutoff:
        raise ValueError(
            f"no order after CUTOFF {cutoff:%Y-%m-%d}: the orders end on "
            f"{last:%Y-%m-%d}; set CUTOFF earlier, by as many weeks as HORIZON"
        )
    weeks = min(horizon, (last - cutoff) / WEEK)
    known = orders.loc[orders["date"] <= cutoff, "customer_id"]
    later = (orders["date"] > cutoff) & (orders["date"] <= cutoff + weeks * WEEK)
    bought = orders[later & orders["customer_id"].isin(known)]
    if bought["value"].sum() <= 0:
        raise ValueError(
            f"nobody returned: the customers of before CUTOFF {cutoff:%Y-%m-%d} spent "
            f"nothing in the {weeks:.1f} weeks after it; check that a customer keeps "
            "one customer_id, or set an earlier CUTOFF or a longer HORIZON"
        )
    return weeks


def check_history(
    orders: pd.DataFrame, cutoff: pd.Timestamp, learn_from: pd.Timestamp
) -> None:
    """Check that enough customers returned after the first learning day."""
    orders = orders[orders["date"] <= cutoff]
    early = orders.loc[orders["date"] <= learn_from, "customer_id"].unique()
    again = orders["customer_id"].isin(early) & (orders["date"] > learn_from)
    returners = orders.loc[again & (orders["value"] > 0), "customer_id"].nunique()
    period = f"between {learn_from:%Y-%m-%d} and CUTOFF {cutoff:%Y-%m-%d}"
    if returners == 0:
        raise ValueError(
            f"nobody returned: none of the {len(early)} customers of before "
            f"{learn_from:%Y-%m-%d} paid for another order {period}; check that a "
            "customer keeps one customer_id, or set a later CUTOFF"
        )
    if len(early) < LEAST_CUSTOMERS or returners < LEAST_RETURNERS:
        raise ValueError(
            f"too few customers to fit: {len(early)} had ordered by "
            f"{learn_from:%Y-%m-%d}, and {returners} of them ordered again {period}; "
            f"{LEAST_CUSTOMERS} and {LEAST_RETURNERS} are needed: add orders, or set "
            "a later CUTOFF"
        )


def check_finite(metrics: dict[str, float]) -> None:
    """Refuse to log a metric that is no number."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(
                f"metric '{name}' is {value}: the forecast can't be scored"
            )
