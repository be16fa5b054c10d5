"""Turn orders into one row per customer: what the model sees, and what followed."""

import pandas as pd

WEEK = pd.Timedelta(weeks=1)
# The regressions learn from customers as they were when these shares of the time
# between the first order and the cutoff had passed.
LEARN_AT = (0.4, 0.5, 0.6, 0.7)
NEEDED = ["customer_id", "date", "value"]


def daily_orders(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer and day: customer_id, date, value.

    A date with a time zone counts as the day on its own clock.
    """
    check_transactions(transactions)
    day = transactions["date"].dt.tz_localize(None).dt.normalize()
    days = transactions.assign(date=day).groupby(
        ["customer_id", "date"], as_index=False, observed=True
    )
    return days[["value"]].sum()


def learning_days(first: pd.Timestamp, cutoff: pd.Timestamp) -> list[pd.Timestamp]:
    """Return the days whose customers the regressions learn from."""
    return [(first + share * (cutoff - first)).normalize() for share in LEARN_AT]


def customer_table(
    transactions: pd.DataFrame, cutoff: str | pd.Timestamp
) -> pd.DataFrame:
    """Return the model's input at the end of the day `cutoff`, indexed by customer_id.

    Orders after the cutoff are ignored; a customer without an earlier one has no row.
    COLUMNS in model_code.py says what each column means.
    """
    orders = daily_orders(transactions)
    cutoff = pd.Timestamp(cutoff)
    orders = orders[orders["date"] <= cutoff]
    weeks_ago = (cutoff - orders["date"]).dt.days / 7
    orders = orders.assign(
        weeks_ago=weeks_ago, in_4w=weeks_ago < 4, in_13w=weeks_ago < 13
    )
    table = orders.groupby("customer_id").agg(
        orders=("value", "size"),
        T=("weeks_ago", "max"),
        since=("weeks_ago", "min"),
        spent=("value", "sum"),
        first_order_value=("value", "first"),
        orders_4w=("in_4w", "sum"),
        orders_13w=("in_13w", "sum"),
    )
    table = table.astype(float)
    table["frequency"] = table["orders"] - 1
    table["recency"] = table["T"] - table["since"]
    repeats = table["frequency"].where(table["frequency"] > 0)  # 0 / missing: missing
    spent_later = table["spent"] - table["first_order_value"]
    table["monetary_value"] = (spent_later / repeats).fillna(0).clip(lower=0)
    return table[
        [
            "frequency",
            "recency",
            "T",
            "monetary_value",
            "first_order_value",
            "orders_4w",
            "orders_13w",
        ]
    ]


def outcomes(
    transactions: pd.DataFrame,
    customer_ids: pd.Index,
    cutoff: pd.Timestamp,
    weeks: float,
) -> pd.DataFrame:
    """Return what those customers did in the `weeks` after `cutoff`, one row each.

    The columns are `orders`, `value`, `wait` (weeks to the first order, or `weeks` if
    there was none) and `returned` (whether there was one).
    """
    orders = daily_orders(transactions)
    later = (orders["date"] > cutoff) & (orders["date"] <= cutoff + weeks * WEEK)
    orders = orders[later]
    orders = orders.assign(wait=(orders["date"] - cutoff).dt.days / 7)
    table = orders.groupby("customer_id").agg(
        orders=("value", "size"), value=("value", "sum"), wait=("wait", "min")
    )
    table = table.reindex(customer_ids)
    table["returned"] = table["wait"].notna()
    return table.fillna({"orders": 0.0, "value": 0.0, "wait": weeks})


def training_rows(transactions: pd.DataFrame, cutoff: pd.Timestamp) -> pd.DataFrame:
    """Return the customers on each learning day, with what they did until `cutoff`.

    The columns are those of `customer_table` and `outcomes`, and
    once         true in one row of each customer, on a day that varies by customer
    weeks_left   weeks from the next order to `cutoff`, at least 1
    rate         further orders per week in `weeks_left`
    order_value  mean value of the orders
    """
    orders = daily_orders(transactions)
    orders = orders[orders["date"] <= cutoff]
    customer_ids = sorted(orders["customer_id"].unique())
    numbers = pd.Series(range(len(customer_ids)), index=customer_ids)
    tables = []
    for number, day in enumerate(learning_days(orders["date"].min(), cutoff)):
        weeks = (cutoff - day) / WEEK
        table = customer_table(orders, day)
        table = table.join(outcomes(orders, table.index, day, weeks))
        table["once"] = numbers[table.index] % len(LEARN_AT) == number
        table["weeks_left"] = (weeks - table["wait"]).clip(lower=1)
        table["rate"] = (table["orders"] - 1) / table["weeks_left"]
        table["order_value"] = table["value"] / table["orders"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


# The check: a table of orders must have these columns and types.


def check_transactions(transactions: pd.DataFrame) -> None:
    """Raise ValueError for a missing column, a wrong type, or the first bad value."""
    missing = [name for name in NEEDED if name not in transactions]
    if missing:
        raise ValueError(f"the orders lack the columns {missing}; needed are {NEEDED}")
    check_types(transactions)
    value = transactions["value"]
    valid = {name: transactions[name].notna() for name in NEEDED}
    valid["value"] &= value.between(0, float("inf"), inclusive="left")
    for name in NEEDED:
        if not valid[name].all():
            row = int(valid[name].to_numpy().argmin())
            raise ValueError(
                f"column '{name}', row {transactions.index.tolist()[row]!r:.80}: "
                f"{transactions[name].tolist()[row]!r:.80} is missing, infinite or "
                "negative; drop such rows (subtract a return from its order)"
            )


def check_types(transactions: pd.DataFrame) -> None:
    dates = transactions["date"]
    if dates.dtype.kind != "M":
        remedy = "pd.to_datetime(orders['date'].astype(str))"
        with_offset = r"\d\d:\d\d.*[+-]\d\d:?\d\d$|\d\d:\d\d.*Z$"
        if dates.astype(str).str.contains(with_offset).any():  # summer and winter time
            remedy = "pd.to_datetime(orders['date'], utc=True).dt.tz_convert(your zone)"
        raise ValueError(f"column 'date' holds {dates.dtype}, not dates; use {remedy}")
    if transactions["value"].dtype.kind not in "iuf":
        raise ValueError(
            f"column 'value' holds {transactions['value'].dtype}, not numbers; "
            "use orders['value'].astype(float)"
        )
