"""clv_composite beside the textbook models: python -m benchmarks.clv_composite (two minutes).

At the end of each month everything is fitted anew on what is known by then, and scored on all weeks
that follow. How the forecasts are combined was chosen by looking at all these months, so none is a
holdout of that choice; the parameters of each forecast know nothing after its cutoff.
"""

from collections.abc import Callable

import lifetimes
import numpy as np
import pandas as pd

from benchmarks.report import Rows, publish
from recipes.clv_composite import cdnow, fitting
from recipes.clv_composite.component import textbook
from recipes.clv_composite.customers import customer_table, outcomes, training_rows
from recipes.clv_composite.evaluation import scores
from recipes.clv_composite.model_code import expected_orders, features

END = pd.Timestamp("1998-06-30")
CUTOFFS = pd.date_range("1997-06-30", "1998-03-31", freq="ME")
CHOSEN_BY = pd.Timestamp("1997-10-31")
TITLE = "To the end of the data, from the end of each month: the composite, BG/NBD, Pareto/NBD"


def regressed(x: pd.DataFrame, fitted: dict) -> np.ndarray:
    coefficients = pd.Series(fitted["coefficients"])
    return np.exp(fitted["intercept"] + x[coefficients.index] @ coefficients).to_numpy()


def regressions(
    transactions: pd.DataFrame, cutoff: pd.Timestamp
) -> Callable[[pd.DataFrame, float], np.ndarray]:
    """Return the forecast of value that the three regressions make, fitted up to the cutoff."""
    rows = training_rows(transactions, cutoff)
    x, once, back, paid = (
        features(rows),
        rows["once"],
        rows["returned"],
        rows["value"] > 0,
    )
    retention, _ = fitting.fit_retention(x[once], rows[once])
    frequency, _ = fitting.fit_frequency(x[back], rows[back])
    order_value, _ = fitting.fit_order_value(x[paid], rows[paid])

    def forecast(customers: pd.DataFrame, weeks: float) -> np.ndarray:
        now = features(customers)
        wait = pd.DataFrame({"median": regressed(now, retention)}).assign(
            **retention["constants"]
        )
        _, orders = expected_orders(wait, regressed(now, frequency), weeks)
        return orders * regressed(now, order_value)

    return forecast


def pareto(customers: pd.DataFrame, weeks: float) -> pd.Series:
    """Return the orders that Pareto/NBD expects; from lifetimes' own start it stops too early."""
    rows = customers.groupby(["frequency", "recency", "T"], as_index=False).size()
    history = [rows[name] for name in ("frequency", "recency", "T", "size")]
    model = lifetimes.ParetoNBDFitter().fit(
        *history, initial_params=np.ones(4), tol=1e-7
    )
    now = (customers[name] for name in ("frequency", "recency", "T"))
    return model.conditional_expected_number_of_purchases_up_to_time(weeks, *now)


def forecasts(
    transactions: pd.DataFrame, cutoff: pd.Timestamp, weeks: float
) -> tuple[pd.Series, dict[str, np.ndarray]]:
    """Return what was spent in the weeks after the cutoff, and what each model foresaw."""
    customers = customer_table(transactions, cutoff)
    fitted, _ = fitting.fit_textbook(customers)
    bgnbd = textbook(customers, weeks, **fitted)
    value = bgnbd["clv"] / bgnbd["expected_purchases"]
    alone = regressions(transactions, cutoff)(customers, weeks)
    spent = outcomes(transactions, customers.index, cutoff, weeks)["value"]
    return spent, {
        "composite": (alone + bgnbd["clv"].to_numpy()) / 2,
        "BG/NBD": bgnbd["clv"].to_numpy(),
        "Pareto/NBD": (pareto(customers, weeks) * value).to_numpy(),
        "regressions alone": alone,
    }


def main() -> None:
    transactions = cdnow.load()
    each, means = Rows(), Rows()
    found: dict[str, list[dict[str, float]]] = {}
    for cutoff in CUTOFFS:
        print(f"fitting: {cutoff.date()}", flush=True)
        weeks = (END - cutoff) / pd.Timedelta(weeks=1)
        spent, ahead = forecasts(transactions, cutoff, weeks)
        got = {
            name: scores(spent, pd.Series(f, spent.index)) for name, f in ahead.items()
        }
        for name, score in got.items():
            found.setdefault(name, []).append(score)
        each.append({"cutoff": str(cutoff.date()), "weeks": round(weeks, 1)})
        for what, label in (("total error in percent", "total %"), ("deviance", "deviance"),
                            ("Gini", "Gini"), ("RMSE", "RMSE")):  # fmt: skip
            row = [f"{got[n][what]:.4g}" for n in ("composite", "BG/NBD", "Pareto/NBD")]
            each[-1][label] = " / ".join(row)
    for period, late in (("to October", False), ("from November", True)):
        months = [i for i, cutoff in enumerate(CUTOFFS) if (cutoff > CHOSEN_BY) == late]
        for name, all_scores in found.items():
            table = pd.DataFrame([all_scores[i] for i in months])
            error = table.pop("total error in percent").abs()
            means.append(
                {"cutoffs": period, "model": name, "mean total error %": error.mean()}
            )
            means[-1] |= {
                "worst": error.max(),
                **table[["deviance", "Gini", "RMSE"]].mean(),
            }
    publish("clv_composite", {TITLE: each, "Means over the cutoffs": means})


if __name__ == "__main__":
    main()
