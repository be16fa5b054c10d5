"""Compare clv_composite with the textbook models: make bench RECIPE=clv_composite.

At the end of each month everything is fitted anew on the orders up to then, and scored
on all the weeks that follow. No parameter has seen an order after its cutoff. But how
the two forecasts are combined was chosen by looking at these months, so none of them is
a holdout of that choice.

A second table fits the composite on random samples of few customers. All of it takes
five minutes.
"""

import warnings

import lifetimes
import numpy as np
import pandas as pd

from benchmarks.report import Rows, publish
from recipes.clv_composite import cdnow, fitting
from recipes.clv_composite.component import Component
from recipes.clv_composite.customers import (
    customer_table,
    learning_days,
    outcomes,
    training_rows,
)
from recipes.clv_composite.evaluation import scores
from recipes.clv_composite.model_code import CustomerLifetimeValue, features

END = pd.Timestamp("1998-06-30")
CUTOFFS = pd.date_range("1997-06-30", "1998-03-31", freq="ME")
CUTOFF = pd.Timestamp("1997-09-30")  # the papers' one, for the samples
SIZES = (100, 200, 300, 500, 1000)
SAMPLES = 20
HISTORY = ["frequency", "recency", "T"]
TOTAL = "total error in percent"


def fit(orders: pd.DataFrame, cutoff: pd.Timestamp) -> dict[str, fitting.Fit]:
    rows = training_rows(orders, cutoff)
    return fitting.fit_parts(features(rows), rows, customer_table(orders, cutoff))


def compose(fits: dict[str, fitting.Fit], *names: str) -> CustomerLifetimeValue:
    """Return the composite of the named parts, or of all, without a store."""
    composite = CustomerLifetimeValue()
    composite.parts = {}
    for name in names or fits:
        composite.parts[name] = Component()
        composite.parts[name].fitted = fits[name].parameters
    return composite


def pareto_orders(customers: pd.DataFrame, weeks: float) -> pd.Series:
    """Return the orders that Pareto/NBD expects."""
    alike = customers.groupby(HISTORY, as_index=False).size()
    weighted = [alike[name] for name in [*HISTORY, "size"]]
    # From the package's own start the optimiser stops too early.
    start = np.ones(4)
    model = lifetimes.ParetoNBDFitter().fit(*weighted, initial_params=start, tol=1e-7)
    past = [customers[name] for name in HISTORY]
    return model.conditional_expected_number_of_purchases_up_to_time(weeks, *past)


def forecasts(
    orders: pd.DataFrame, cutoff: pd.Timestamp, weeks: float
) -> dict[str, pd.Series]:
    """Return each model's forecast of what the customers spend in the weeks ahead."""
    customers = customer_table(orders, cutoff)
    fits = fit(orders, cutoff)
    horizon = {"horizon_weeks": weeks}
    composite = compose(fits).predict(None, customers, horizon)
    regressions = compose(fits, "retention", "frequency", "aov")
    bgnbd = compose(fits).parts["textbook"].predict(None, customers, horizon)
    value = bgnbd["clv"] / bgnbd["expected_purchases"]
    return {
        "composite": composite["clv"],
        "BG/NBD": bgnbd["clv"],
        "Pareto/NBD": pareto_orders(customers, weeks) * value,
        "regressions alone": regressions.predict(None, customers, horizon)["clv"],
    }


def by_cutoff(orders: pd.DataFrame) -> pd.DataFrame:
    """Return a row of scores for each cutoff and model."""
    rows = []
    for cutoff in CUTOFFS:
        print(f"fitting: {cutoff.date()}", flush=True)
        weeks = (END - cutoff) / pd.Timedelta(weeks=1)
        ids = customer_table(orders, cutoff).index
        spent = outcomes(orders, ids, cutoff, weeks)["value"]
        for model, forecast in forecasts(orders, cutoff, weeks).items():
            row = {"cutoff": cutoff, "weeks": weeks, "model": model}
            rows.append(row | scores(spent, forecast))
    return pd.DataFrame(rows)


def means(found: pd.DataFrame) -> Rows:
    """Return each model's scores over all cutoffs, and at how many it was the best.

    The regressions alone are a part of the composite, so they don't compete.
    """
    rivals = found[found["model"] != "regressions alone"].set_index("model")
    by_cutoff = rivals.groupby("cutoff")
    best_deviance = by_cutoff["deviance"].idxmin().value_counts()
    best_gini = by_cutoff["Gini"].idxmax().value_counts()
    rows: Rows = []
    for model, table in found.groupby("model", sort=False):
        error = table[TOTAL].abs()
        row = {
            "model": model,
            "mean total error (%)": error.mean(),
            "worst (%)": error.max(),
            "deviance": table["deviance"].mean(),
            "Gini": table["Gini"].mean(),
        }
        if model in rivals.index:
            row["best in deviance"] = f"{best_deviance.get(model, 0)} of {len(CUTOFFS)}"
            row["best in Gini"] = f"{best_gini.get(model, 0)} of {len(CUTOFFS)}"
        rows.append(row)
    return rows


def totals(found: pd.DataFrame) -> Rows:
    """Return each model's error of the total, one row per cutoff."""
    rows: Rows = []
    for cutoff, table in found.groupby("cutoff"):
        errors = table.set_index("model")[TOTAL]
        row = {"cutoff": f"{cutoff:%Y-%m-%d}", "weeks ahead": table["weeks"].iloc[0]}
        for model in ("composite", "BG/NBD", "Pareto/NBD"):
            row[f"{model} (%)"] = f"{errors[model]:+.0f}"
        rows.append(row)
    return rows


def by_size(orders: pd.DataFrame) -> Rows:
    """Return how far the total is off with few customers, over random samples."""
    rows: Rows = []
    for size in SIZES:
        print(f"fitting: {SAMPLES} samples of {size} customers", flush=True)
        samples = [score_sample(orders, size, seed) for seed in range(SAMPLES)]
        found = pd.DataFrame(samples)
        returners, error = found["returners"], found[TOTAL].abs()
        rows.append(
            {
                "customers": size,
                "of whom returned": f"{returners.min():.0f} to {returners.max():.0f}",
                "median total error (%)": error.median(),
                "worst (%)": error.max(),
                "lowest Gini": found["Gini"].min(),
            }
        )
    return rows


def score_sample(orders: pd.DataFrame, size: int, seed: int) -> dict[str, float]:
    ids = orders["customer_id"].unique()
    chosen = np.random.default_rng(seed).choice(ids, size, replace=False)
    sample = orders[orders["customer_id"].isin(chosen)]
    customers = customer_table(sample, CUTOFF)
    weeks = (END - CUTOFF) / pd.Timedelta(weeks=1)
    composite = compose(fit(sample, CUTOFF))
    forecast = composite.predict(None, customers, {"horizon_weeks": weeks})["clv"]
    spent = outcomes(sample, customers.index, CUTOFF, weeks)["value"]
    return scores(spent, forecast) | {"returners": count_returners(sample)}


def count_returners(orders: pd.DataFrame) -> int:
    """Return how many customers paid for an order after the first learning day."""
    day = learning_days(orders["date"].min(), CUTOFF)[0]
    early = orders.loc[orders["date"] <= day, "customer_id"]
    later = (orders["date"] > day) & (orders["date"] <= CUTOFF) & (orders["value"] > 0)
    return orders.loc[
        later & orders["customer_id"].isin(early), "customer_id"
    ].nunique()


if __name__ == "__main__":
    orders = cdnow.load()
    found = by_cutoff(orders)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what few customers make of a fit is counted
        few = by_size(orders)
    title = f"Means over {len(CUTOFFS)} cutoffs, each scored to the end of the data"
    tables = {
        title: means(found),
        "Error of the total at each cutoff": totals(found),
        f"How many customers it needs: {SAMPLES} samples of each size": few,
    }
    best = {"mean total error (%)": "min", "deviance": "min", "Gini": "max"}
    publish("clv_composite", tables, best=best)
