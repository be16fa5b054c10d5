"""Fit the four parts that the composite is made of; each comes back as parameters for JSON.

`x` are the features of model_code.py, (n, 9), and `rows` the `training_rows` they belong to. Each
function returns the parameters that component.py answers from, and the measures of the fit.
"""

from typing import Any

import lifetimes
import numpy as np
import pandas as pd
from lifelines import LogNormalAFTFitter
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Fitted = tuple[dict[str, Any], dict[str, float]]


def fit_retention(x: pd.DataFrame, rows: pd.DataFrame) -> Fitted:
    """Fit weeks to the next order: log-normal AFT, censored where the customer did not return."""
    table = x.join(rows[["wait", "returned"]])
    with threadpool_limits(
        1
    ):  # a second thread costs more than it brings on a table this narrow
        fitter = LogNormalAFTFitter(penalizer=1e-3).fit(table, "wait", "returned")
    location = fitter.params_["mu_"]
    parameters = {
        "answers": "median",
        "intercept": float(location["Intercept"]),
        "coefficients": location.drop("Intercept").to_dict(),
        "constants": {"sigma": float(np.exp(fitter.params_["sigma_", "Intercept"]))},
    }
    share = float(rows["returned"].mean())
    return parameters, {
        "concordance": fitter.concordance_index_,
        "share returned": share,
    }


def fit_frequency(x: pd.DataFrame, rows: pd.DataFrame) -> Fitted:
    """Fit orders per week after the next order: Poisson, weighted by the weeks observed."""
    regressor = PoissonRegressor(alpha=1e-4, solver="newton-cholesky")
    return fit_regression(regressor, "rate", x, rows["rate"], rows["weeks_left"])


def fit_order_value(x: pd.DataFrame, rows: pd.DataFrame) -> Fitted:
    """Fit the mean value of an order: Gamma with log link, weighted by the number of orders."""
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
) -> Fitted:
    """Fit on standardised features; the parameters are those of the features as they are."""
    model = make_pipeline(scaler := StandardScaler(), regressor)
    model.fit(x, y, **{f"{model.steps[1][0]}__sample_weight": weights})
    slopes = regressor.coef_ / scaler.scale_
    parameters = {
        "answers": answers,
        "intercept": float(regressor.intercept_ - slopes @ scaler.mean_),
        "coefficients": dict(zip(x, slopes.tolist(), strict=True)),
        "constants": {},
    }
    return parameters, {"deviance explained": model.score(x, y, sample_weight=weights)}


def fit_textbook(customers: pd.DataFrame) -> Fitted:
    """Fit BG/NBD and Gamma-Gamma; equal customers are fitted once.

    Raises ValueError if one does not converge, which is known of shops unlike CDNOW.
    """
    rows = customers.groupby(["frequency", "recency", "T"], as_index=False).size()
    history = [rows[name].to_numpy() for name in ("frequency", "recency", "T", "size")]
    paid = customers[(customers["frequency"] > 0) & (customers["monetary_value"] > 0)]
    try:
        purchases = lifetimes.BetaGeoFitter().fit(*history)
        value = lifetimes.GammaGammaFitter().fit(
            paid["frequency"], paid["monetary_value"]
        )
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error!s:.80}") from None
    parameters = {**purchases.params_, **value.params_}
    good = np.isfinite(list(parameters.values())).all() and parameters["q"] > 1
    if not good:  # below 1 the mean of an order is infinite
        raise ValueError(f"parameters without a mean: {parameters}")
    mean = -purchases._negative_log_likelihood(
        np.log(purchases.params_.to_numpy()), *history, 0
    )
    return parameters, {"log-likelihood": float(mean * len(customers))}
