"""Fit the four parts that the composite is made of.

Each comes back as parameters for JSON, from which component.py answers, and as measures
of the fit. `x` are the features of model_code.py and `rows` the `training_rows` of
customers.py that they were computed from.
"""

from contextlib import redirect_stdout
from typing import Any, NamedTuple

import lifetimes
import numpy as np
import pandas as pd
from lifelines import LogNormalAFTFitter
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

# The optimiser starts with every log parameter at 0.1, the default of `lifetimes`. It
# sometimes stops early there, and is started again from the others.
STARTS = (0.1, 0.0, 1.0, -1.0)
# Where all customers are equally likely to leave, BG/NBD's a grows without end, and its
# forecast overflows.
LARGEST_A = 100.0


class Fit(NamedTuple):
    inputs: pd.DataFrame
    parameters: dict[str, Any]
    measures: dict[str, float]


def fit_parts(
    x: pd.DataFrame, rows: pd.DataFrame, customers: pd.DataFrame
) -> dict[str, Fit]:
    """Return the fitted parts by name; without the textbook if it doesn't converge."""
    once = rows["once"]
    returned = rows["returned"]
    paid = rows["value"] > 0
    parts = {
        "retention": fit_retention(x[once], rows[once]),
        "frequency": fit_frequency(x[returned], rows[returned]),
        "aov": fit_order_value(x[paid], rows[paid]),
    }
    try:
        parts["textbook"] = fit_textbook(customers)
    except ValueError as error:
        print(f"the textbook part is left out: {error}")
    return parts


def fit_retention(x: pd.DataFrame, rows: pd.DataFrame) -> Fit:
    """Fit the weeks to the next order as log-normal, censored at the cutoff."""
    table = x.join(rows[["wait", "returned"]])
    with threadpool_limits(1):  # a second thread slows down a table this narrow
        fitter = LogNormalAFTFitter(penalizer=1e-3).fit(table, "wait", "returned")
    location = fitter.params_["mu_"]
    parameters = {
        "answers": "median",
        "intercept": float(location["Intercept"]),
        "coefficients": location.drop("Intercept").to_dict(),
        "constants": {"sigma": float(np.exp(fitter.params_["sigma_", "Intercept"]))},
    }
    measures = {
        "concordance": fitter.concordance_index_,
        "share returned": float(rows["returned"].mean()),
    }
    return Fit(x, parameters, measures)


def fit_frequency(x: pd.DataFrame, rows: pd.DataFrame) -> Fit:
    """Fit orders per week after the next one: Poisson, weighted by weeks observed."""
    regressor = PoissonRegressor(alpha=1e-4, solver="newton-cholesky")
    return fit_regression(regressor, "rate", x, rows["rate"], rows["weeks_left"])


def fit_order_value(x: pd.DataFrame, rows: pd.DataFrame) -> Fit:
    """Fit the mean value of an order: Gamma with log link, weighted by orders."""
    regressor = GammaRegressor(alpha=1e-3, solver="newton-cholesky")
    return fit_regression(
        regressor, "order_value", x, rows["order_value"], rows["orders"]
    )


def fit_regression(
    regressor: PoissonRegressor | GammaRegressor,
    answers: str,
    x: pd.DataFrame,
    y: pd.Series,
    weights: pd.Series,
) -> Fit:
    """Fit on standardised features; return the parameters for the original ones."""
    scaler = StandardScaler().fit(x)
    standardised = scaler.transform(x)
    regressor.fit(standardised, y, sample_weight=weights)
    slopes = regressor.coef_ / scaler.scale_
    parameters = {
        "answers": answers,
        "intercept": float(regressor.intercept_ - slopes @ scaler.mean_),
        "coefficients": dict(zip(x.columns, slopes.tolist(), strict=True)),
        "constants": {},
    }
    explained = regressor.score(standardised, y, sample_weight=weights)
    return Fit(x, parameters, {"deviance explained": explained})


def fit_textbook(customers: pd.DataFrame) -> Fit:
    """Fit BG/NBD and Gamma-Gamma; ValueError gives the reason if either fails."""
    history = ["frequency", "recency", "T"]
    alike = customers.groupby(history, as_index=False).size()  # fitted once, weighted
    weighted = [alike[name].to_numpy() for name in [*history, "size"]]
    purchases = fit_from_starts(lifetimes.BetaGeoFitter(), 4, *weighted)
    repeaters = customers[customers["monetary_value"] > 0]
    paid = [repeaters["frequency"], repeaters["monetary_value"]]
    value = fit_from_starts(lifetimes.GammaGammaFitter(), 3, *paid)
    parameters = {**purchases.params_, **value.params_}
    check_textbook(parameters)
    logs = np.log(purchases.params_.to_numpy())
    mean = -purchases._negative_log_likelihood(logs, *weighted, 0)
    measures = {"log-likelihood": float(mean * len(customers))}
    return Fit(customers, parameters, measures)


def fit_from_starts(fitter: Any, parameters: int, *data: Any) -> Any:
    """Return the fitter, fitted from the first of STARTS that converges."""
    reason = ""
    for start in STARTS:
        try:
            with redirect_stdout(None):  # the package prints its optimiser's state
                return fitter.fit(*data, initial_params=np.full(parameters, start))
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    name = type(fitter).__name__
    raise ValueError(f"{name} failed from {len(STARTS)} starts: {reason}")


def check_textbook(parameters: dict[str, float]) -> None:
    """Raise ValueError for parameters that give no finite forecast."""
    shown = {name: round(float(value), 3) for name, value in parameters.items()}
    if parameters["a"] > LARGEST_A:
        raise ValueError(f"BG/NBD: a is beyond {LARGEST_A:g}: {shown}")
    if not np.isfinite(list(parameters.values())).all():
        raise ValueError(f"parameters that are not finite: {shown}")
    if parameters["q"] <= 1:
        raise ValueError(f"Gamma-Gamma: q <= 1, so the mean order is infinite: {shown}")
