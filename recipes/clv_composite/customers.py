"""From transactions to one row per customer: what a model sees, and what it is to foresee."""

import pandas as pd

WEEK = pd.Timedelta(weeks=1)


def orders(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer and day: customer_id, date, items, value.

    Raises ValueError for missing columns, values, or times that are no dates.
    """
    needed = ["customer_id", "date", "items", "value"]
    absent = [name for name in needed if name not in transactions]
    if absent:
        raise ValueError(f"transactions lack the columns {absent}; needed are {needed}")
    if transactions["date"].dtype.kind != "M":
        raise ValueError("column 'date' holds no dates; convert it with pd.to_datetime")
    for name in needed:
        bad = transactions[name].isna()
        if name in ("items", "value"):
            bad |= ~transactions[name].between(0, float("inf"), inclusive="left")
        if bad.any():
            at = int(bad.to_numpy().argmax())
            raise ValueError(
                f"column '{name}', row {transactions.index[at]!r}: {transactions[name].iloc[at]} "
                "is missing, infinite or negative; drop such rows (take returns off their order)"
            )
    day = transactions["date"].dt.normalize()
    return (
        transactions.assign(date=day)
        .groupby(["customer_id", "date"], as_index=False)[["items", "value"]]
        .sum()
    )


def customer_table(transactions: pd.DataFrame, cutoff: str | pd.Timestamp) -> pd.DataFrame:
    """Return the model's input as of the end of day `cutoff`, indexed by customer_id.

    `transactions` has a row per purchase: customer_id, date (datetime64), items, value (any
    currency). What lies after `cutoff` is not looked at, and who had not bought by then has no row.
    Weeks are of 7 days. The columns are those of COLUMNS in model_code.py.
    """
    cutoff = pd.Timestamp(cutoff)
    seen = orders(transactions)
    seen = seen[seen["date"] <= cutoff]
    ago = (cutoff - seen["date"]).dt.days / 7
    by_customer = seen.assign(ago=ago, in_4w=ago < 4, in_13w=ago < 13).groupby("customer_id")
    table = by_customer.agg(
        orders=("value", "size"), T=("ago", "max"), since=("ago", "min"), spent=("value", "sum"),
        first_order_value=("value", "first"), items_per_order=("items", "mean"),
        orders_4w=("in_4w", "sum"), orders_13w=("in_13w", "sum"),
    ).astype(float)  # fmt: skip
    frequency = table["orders"] - 1
    table["frequency"] = frequency
    table["recency"] = table["T"] - table["since"]
    repeat_value = table["spent"] - table["first_order_value"]
    table["monetary_value"] = (repeat_value / frequency.where(frequency > 0)).fillna(0).clip(0)
    return table[
        ["frequency", "recency", "T", "monetary_value", "first_order_value", "items_per_order",
         "orders_4w", "orders_13w"]
    ]  # fmt: skip


def outcomes(
    transactions: pd.DataFrame, customer_ids: pd.Index, cutoff: pd.Timestamp, weeks: float
) -> pd.DataFrame:
    """Return what those customers did in the `weeks` after `cutoff`, one row each.

    orders, value; returned (bool), wait (weeks to the first order, or `weeks` without one).
    """
    after = orders(transactions)
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
    transactions: pd.DataFrame, cutoff: str | pd.Timestamp, at: tuple[float, ...]
) -> pd.DataFrame:
    """Return customers as of earlier days, with what they did from then to `cutoff`.

    `at` are those days as fractions of the time observed up to `cutoff`: nothing after it is seen.
    Columns: those of `customer_table` and `outcomes`, and what the three models learn from:
    once         true in one row of each customer, at a day that changes from customer to customer
    weeks_left   weeks from the next order to `cutoff`, at least 1
    rate         further orders per week in `weeks_left`
    order_value  mean value of the orders
    """
    cutoff = pd.Timestamp(cutoff)
    begin = transactions["date"].min()
    seen = transactions[transactions["date"] <= cutoff]
    numbers = {customer: n for n, customer in enumerate(sorted(seen["customer_id"].unique()))}
    tables = []
    for turn, fraction in enumerate(at):
        day = (begin + (cutoff - begin) * fraction).normalize()
        table = customer_table(seen, day)
        weeks = (cutoff - day) / WEEK
        once = table.index.map(numbers) % len(at) == turn
        outcome = outcomes(seen, table.index, day, weeks)
        table = table.join(outcome).assign(once=once)
        table["weeks_left"] = (weeks - table["wait"]).clip(lower=1)
        table["rate"] = (table["orders"] - 1) / table["weeks_left"]
        table["order_value"] = table["value"] / table["orders"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
