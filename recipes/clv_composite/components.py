"""Fit the three models that the composite puts together.

`x` are the features of model_code.py, (n, 10), and `rows` the `training_rows` they belong to. Each
function returns the fitted model and the measures of its fit.
"""

from typing import Any

import numpy as np
import pandas as pd
from lifelines import LogNormalAFTFitter
from sklearn.linear_model import GammaRegressor, PoissonRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Measures = dict[str, float]


def fit_retention(x: pd.DataFrame, rows: pd.DataFrame) -> tuple[dict[str, Any], Measures]:
    """Fit weeks to the next order: log-normal AFT, censored where the customer did not return.

    Returns what retention_model.py predicts from: intercept, scale and coefficients by feature.
    """
    table = x.join(rows[["wait", "returned"]])
    with threadpool_limits(1):  # a second thread costs more than it brings on a table this narrow
        fitter = LogNormalAFTFitter(penalizer=1e-3).fit(table, "wait", "returned")
    fitted = {
        "intercept": float(fitter.params_["mu_", "Intercept"]),
        "scale": float(np.exp(fitter.params_["sigma_", "Intercept"])),
        "coefficients": fitter.params_["mu_"].drop("Intercept")[x.columns].to_dict(),
    }
    return fitted, {
        "concordance": fitter.concordance_index_,
        "aic": fitter.AIC_,
        "returned": rows["returned"].mean(),
        "rows": len(x),
    }


def fit_frequency(x: pd.DataFrame, rows: pd.DataFrame) -> tuple[Pipeline, Measures]:
    """Fit orders per week after the next order: Poisson, weighted by the weeks observed."""
    regressor = PoissonRegressor(alpha=1e-4, solver="newton-cholesky")
    return weighted(regressor, x, rows["rate"], rows["weeks_left"])


def fit_order_value(x: pd.DataFrame, rows: pd.DataFrame) -> tuple[Pipeline, Measures]:
    """Fit the mean value of an order: Gamma with log link, weighted by the number of orders."""
    regressor = GammaRegressor(alpha=1e-3, solver="newton-cholesky")
    return weighted(regressor, x, rows["order_value"], rows["orders"])


def weighted(
    regressor: PoissonRegressor | GammaRegressor, x: pd.DataFrame, y: pd.Series, weights: pd.Series
) -> tuple[Pipeline, Measures]:
    """Fit on standardised features; d2 is the share of the deviance that is explained."""
    model = Pipeline([("scale", StandardScaler()), ("regress", regressor)])
    model.fit(x, y, regress__sample_weight=weights)
    return model, {"d2": model.score(x, y, sample_weight=weights), "rows": len(x)}
