"""The models of the textbook, from `lifetimes`: BG/NBD or Pareto/NBD, with Gamma-Gamma."""

import lifetimes
import numpy as np
import pandas as pd


def fit_purchases(
    customers: pd.DataFrame, kind: str
) -> lifetimes.BetaGeoFitter | lifetimes.ParetoNBDFitter:
    """Fit "BG/NBD" or "Pareto/NBD" on frequency, recency and T; equal rows are fitted once."""
    rows = customers.groupby(["frequency", "recency", "T"], as_index=False).size()
    history = rows["frequency"], rows["recency"], rows["T"], rows["size"]
    if kind == "BG/NBD":
        return lifetimes.BetaGeoFitter().fit(*history)
    # lifetimes would start at random, and stop before the fourth digit holds
    return lifetimes.ParetoNBDFitter().fit(*history, initial_params=np.ones(4), tol=1e-7)


def fit_value(customers: pd.DataFrame) -> lifetimes.GammaGammaFitter:
    """Fit Gamma-Gamma on the customers who came back and spent something."""
    paid = customers[(customers["frequency"] > 0) & (customers["monetary_value"] > 0)]
    return lifetimes.GammaGammaFitter().fit(paid["frequency"], paid["monetary_value"])


def predict(customers: pd.DataFrame, horizon_weeks: float, kind: str = "BG/NBD") -> pd.DataFrame:
    """Return clv and expected_purchases over the horizon of models fitted on these customers."""
    history = customers["frequency"], customers["recency"], customers["T"]
    model, value = fit_purchases(customers, kind), fit_value(customers)
    purchases = model.conditional_expected_number_of_purchases_up_to_time(horizon_weeks, *history)
    order_value = value.conditional_expected_average_profit(
        customers["frequency"], customers["monetary_value"]
    )
    return pd.DataFrame({"clv": purchases * order_value, "expected_purchases": purchases})
