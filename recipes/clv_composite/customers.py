"""From transactions to one row per customer: what a model sees, and what it is to foresee."""

import pandas as pd

WEEK = pd.Timedelta(weeks=1)
AT = (
    0.4,
    0.5,
    0.6,
    0.7,
)  # the days to learn from, in the time observed: see training_rows
Day = str | pd.Timestamp


def orders(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer and day: customer_id, date, value.

    Dates with a time zone count by their own clock. Raises ValueError for missing columns, for
    times that are no dates, and for values that are missing, infinite or negative.
    """
    needed = ["customer_id", "date", "value"]
    if absent := [name for name in needed if name not in transactions]:
        raise ValueError(f"transactions lack the columns {absent}; needed are {needed}")
    for name, kinds, remedy in (
        ("date", "M", "pd.to_datetime"),
        ("value", "iuf", "pd.to_numeric"),
    ):
        if transactions[name].dtype.kind not in kinds:
            raise ValueError(
                f"column '{name}' holds {transactions[name].dtype}; use {remedy}"
            )
    bad = transactions[needed].isna()
    bad["value"] |= ~transactions["value"].between(0, float("inf"), inclusive="left")
    for name in needed:
        if bad[name].any():
            at = int(bad[name].to_numpy().argmax())
            raise ValueError(
                f"column '{name}', row {transactions.index[at]!r:.80}: "
                f"{transactions[name].iloc[at]!r:.80} is missing, infinite or negative; drop such "
                "rows (take returns off their order)"
            )
    day = transactions["date"].dt.tz_localize(None).dt.normalize()
    by = ["customer_id", "date"]
    return (
        transactions.assign(date=day)
        .groupby(by, as_index=False, observed=True)[["value"]]
        .sum()
    )


def customer_table(transactions: pd.DataFrame, cutoff: Day) -> pd.DataFrame:
    """Return the model's input as of the end of day `cutoff`, indexed by customer_id.

    `transactions` has a row per purchase: customer_id, date (datetime64), value (any currency).
    What lies after `cutoff` is not looked at; who had not bought by then has no row. Weeks are of
    7 days. The columns are those of COLUMNS in model_code.py.
    """
    seen = orders(transactions)
    seen = seen[seen["date"] <= cutoff]
    ago = (pd.Timestamp(cutoff) - seen["date"]).dt.days / 7
    by_customer = seen.assign(ago=ago, in_4w=ago < 4, in_13w=ago < 13).groupby(
        "customer_id"
    )
    table = by_customer.agg(
        orders=("value", "size"), T=("ago", "max"), since=("ago", "min"), spent=("value", "sum"),
        first_order_value=("value", "first"), orders_4w=("in_4w", "sum"),
        orders_13w=("in_13w", "sum"),
    ).astype(float)  # fmt: skip
    frequency = table["orders"] - 1
    again = (table["spent"] - table["first_order_value"]) / frequency.where(
        frequency > 0
    )
    table = table.assign(
        frequency=frequency,
        recency=table["T"] - table["since"],
        monetary_value=again.fillna(0).clip(0),
    )
    names = ["frequency", "recency", "T", "monetary_value", "first_order_value"]
    return table[[*names, "orders_4w", "orders_13w"]]


def outcomes(
    transactions: pd.DataFrame, customer_ids: pd.Index, cutoff: Day, weeks: float
) -> pd.DataFrame:
    """Return what those customers did in the `weeks` after `cutoff`, one row each.

    orders, value; returned (bool), wait (weeks to the first order, or `weeks` without one).
    """
    after, cutoff = orders(transactions), pd.Timestamp(cutoff)
    after = after[(after["date"] > cutoff) & (after["date"] <= cutoff + weeks * WEEK)]
    after = after.assign(wait=(after["date"] - cutoff).dt.days / 7)
    found = after.groupby("customer_id").agg(
        orders=("value", "size"), value=("value", "sum"), wait=("wait", "min")
    )
    table = found.reindex(customer_ids)
    return table.assign(returned=table["wait"].notna()).fillna(
        {"orders": 0.0, "value": 0.0, "wait": weeks}
    )


def training_rows(
    transactions: pd.DataFrame, cutoff: Day, at: tuple[float, ...] = AT
) -> pd.DataFrame:
    """Return customers as of earlier days, with what they did from then to `cutoff`.

    `at` are those days as fractions of the time observed up to `cutoff`: nothing after it is seen.
    Columns: those of `customer_table` and `outcomes`, and what the regressions learn from:
    once         true in one row of each customer, at a day that changes from customer to customer
    weeks_left   weeks from the next order to `cutoff`, at least 1
    rate         further orders per week in `weeks_left`
    order_value  mean value of the orders
    """
    seen, cutoff = orders(transactions), pd.Timestamp(cutoff)
    seen = seen[seen["date"] <= cutoff]
    begin, customer_ids, tables = (
        seen["date"].min(),
        sorted(seen["customer_id"].unique()),
        [],
    )
    numbers = pd.Series(range(len(customer_ids)), index=customer_ids)
    for number, fraction in enumerate(at):
        day = (begin + (cutoff - begin) * fraction).normalize()
        table, weeks = customer_table(seen, day), (cutoff - day) / WEEK
        once = numbers[table.index] % len(at) == number
        table = table.join(outcomes(seen, table.index, day, weeks)).assign(once=once)
        table["weeks_left"] = (weeks - table["wait"]).clip(lower=1)
        table["rate"] = (table["orders"] - 1) / table["weeks_left"]
        table["order_value"] = table["value"] / table["orders"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
