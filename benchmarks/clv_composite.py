"""clv_composite beside the textbook models: python -m benchmarks.clv_composite (about a minute).

Every model is fitted here, on the same orders, and scored on the same weeks after its cutoff.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scipy.interpolate import interp1d
from scipy.optimize import minimize
from scipy.special import ndtr

from benchmarks.report import Rows, interleave, publish
from recipes.clv_composite import baselines, cdnow, components, evaluation
from recipes.clv_composite.customers import customer_table, outcomes, training_rows
from recipes.clv_composite.model_code import compose, features
from shared.recipes import ROOT

AT = (0.5, 0.6, 0.7, 0.8, 0.9)
SPLITS = {
    "39 weeks after 1997-09-30 (the split of the papers)": ("1997-09-30", 39.0),
    "13 weeks after 1997-06-30": ("1997-06-30", 13.0),
    "26 weeks after 1997-12-31 (looked at once, after all choices were made)": ("1997-12-31", 26.0),
}


def composite(
    transactions: pd.DataFrame, cutoff: str, horizon: float, at: tuple[float, ...] = AT
) -> pd.DataFrame:
    """Return what the recipe's model forecasts when it is trained up to `cutoff`."""
    rows = training_rows(transactions, cutoff, at)
    x, once, back, paid = features(rows), rows["once"], rows["returned"], rows["value"] > 0
    retention, _ = components.fit_retention(x[once], rows[once])
    frequency, _ = components.fit_frequency(x[back], rows[back])
    order_value, _ = components.fit_order_value(x[paid], rows[paid])
    now = features(customer_table(transactions, cutoff))
    location = retention["intercept"] + now @ pd.Series(retention["coefficients"])
    timing = pd.DataFrame({"location": location, "scale": retention["scale"]})
    return compose(timing, frequency.predict(now), order_value.predict(now), horizon)


def naive(customers: pd.DataFrame, horizon: float) -> pd.DataFrame:
    """Return the past rate of orders times the past value of an order, for as long as that."""
    orders = customers["frequency"] + 1
    spent = customers["first_order_value"] + customers["frequency"] * customers["monetary_value"]
    return pd.DataFrame(
        {
            "clv": spent / customers["T"].clip(lower=1) * horizon,
            "expected_purchases": orders / customers["T"].clip(lower=1) * horizon,
        }
    )


def split_table(transactions: pd.DataFrame, cutoff: str, horizon: float) -> Rows:
    """Return a row of scores for each model."""
    customers = customer_table(transactions, cutoff)
    actual = outcomes(transactions, customers.index, pd.Timestamp(cutoff), horizon)
    forecasts = {"composite": composite(transactions, cutoff, horizon)}
    for kind in ("BG/NBD", "Pareto/NBD"):
        forecasts[f"{kind} + Gamma-Gamma"] = baselines.predict(customers, horizon, kind)
    forecasts["naive: past rate x value"] = naive(customers, horizon)
    return [
        {"model": name, **evaluation.scores(actual["value"], table["clv"])}
        | {"purchases_rmse": rmse(actual["orders"], table["expected_purchases"])}
        for name, table in forecasts.items()
    ]


def rmse(actual: pd.Series, predicted: pd.Series) -> float:
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def snapshot_table(transactions: pd.DataFrame) -> Rows:
    """Return how far the scores of the first split hang on the days that are trained on."""
    cutoff, horizon = "1997-09-30", 39.0
    ids = customer_table(transactions, cutoff).index
    actual = outcomes(transactions, ids, pd.Timestamp(cutoff), horizon)["value"]
    choices = [AT, (0.5, 0.6, 0.7, 0.8), (0.45, 0.55, 0.65, 0.75), (0.55, 0.65, 0.75, 0.85)]
    return [
        {"days (share of the time observed)": ", ".join(f"{share:.2f}" for share in at)}
        | evaluation.scores(actual, composite(transactions, cutoff, horizon, at)["clv"])
        for at in choices
    ]


def sharpest(actual: np.ndarray, forecast: np.ndarray, deviance: float) -> np.ndarray:
    """Return the rising curve of `forecast`, at its true total, with the least MAE that was found.

    It is fitted on the very spending it is scored on, which no forecaster can: a bound for what
    calibration can reach while the deviance stays at most `deviance`.
    """
    y, p = actual, forecast * actual.sum() / forecast.sum()
    marks = (0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.88, 0.94, 0.97, 0.99, 0.997, 0.999, 1)
    knots = np.log(np.quantile(p, marks))
    weights = interp1d(knots, np.eye(len(knots)), axis=0)(np.log(p).clip(knots[0], knots[-1]))

    def curve(shift: np.ndarray) -> np.ndarray:
        raised = p * np.exp(weights @ shift)
        return raised * y.sum() / raised.sum()

    def slope(of_value: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the gradient by `shift` of a mean whose derivative by forecast is `of_value`."""
        return (of_value * v) @ (weights - v @ weights / v.sum()) / len(y)

    def mae(shift: np.ndarray) -> tuple[float, np.ndarray]:
        v = curve(shift)
        return float(np.abs(v - y).mean()), slope(np.sign(v - y), v)

    def tweedie(v: np.ndarray) -> float:
        return float(4 * np.mean(y * v**-0.5 - 2 * y**0.5 + v**0.5))

    def tweedie_slope(shift: np.ndarray) -> np.ndarray:
        v = curve(shift)
        return slope(2 * v**-0.5 - 2 * y * v**-1.5, v)

    found = minimize(
        mae, np.zeros(len(knots)), jac=True, method="SLSQP", options={"maxiter": 300, "ftol": 1e-8},
        constraints=[
            {"type": "ineq", "fun": lambda shift: deviance - tweedie(curve(shift)),
             "jac": lambda shift: -tweedie_slope(shift)},
            {"type": "ineq", "fun": lambda shift: np.diff(knots + shift)},
        ],
    )  # fmt: skip
    return curve(found.x)


def mae_table(transactions: pd.DataFrame) -> Rows:
    """Return what sharpening the forecasts does to MAE at the true total, and what it costs."""
    cutoff, horizon = "1997-09-30", 39.0
    clv = composite(transactions, cutoff, horizon)["clv"]
    actual = outcomes(transactions, clv.index, pd.Timestamp(cutoff), horizon)["value"]
    curves = {"as forecast": clv}
    curves |= {f"forecast to the power {power}": clv**power for power in (1.1, 1.2)}
    for cap in (16.5, 18.0):
        best = sharpest(actual.to_numpy(), clv.to_numpy(), cap)
        name = f"best rising curve, fitted on the holdout itself, deviance <= {cap}"
        curves[name] = pd.Series(best, index=clv.index)
    rows = []
    for name, curve in curves.items():
        scores = evaluation.scores(actual, curve * actual.sum() / curve.sum())
        rows.append({"at the true total": name, "mae_matched": scores["mae_matched"]})
        rows[-1] |= {key: scores[key] for key in ("deviance", "gini", "rmse")}
    return rows


def logged_model() -> Any:
    """Return the model as the driver logs it, from a store that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        said = subprocess.check_output(
            [sys.executable, ROOT / "recipes/clv_composite/driver.py"], text=True, cwd=folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        mlflow.set_tracking_uri(uri)
        line = next(line for line in said.splitlines() if line.startswith("model "))
        return mlflow.pyfunc.load_model(line.split()[1])


def speed_table(transactions: pd.DataFrame) -> Rows:
    """Return the milliseconds for all 23,570 customers, and for the integral alone."""
    customers = customer_table(transactions, "1997-09-30")
    model = logged_model()
    purchases = baselines.fit_purchases(customers, "BG/NBD")
    value = baselines.fit_value(customers)
    history = customers["frequency"], customers["recency"], customers["T"]
    money = customers["frequency"], customers["monetary_value"]
    x = features(customers)
    timing = model.unwrap_python_model().parts["retention"].predict(x)
    location, scale = timing["location"].to_numpy(), timing["scale"].to_numpy()
    rate = np.full(len(x), 0.1)

    def on_a_grid() -> np.ndarray:
        weeks = np.linspace(1e-9, 39, 40)
        returned = ndtr((np.log(weeks) - location[:, None]) / scale[:, None])
        return returned[:, -1] + rate * np.trapezoid(returned, weeks, axis=1)

    rivals: dict[str, Callable[[], object]] = {
        "composite, as loaded from MLflow": lambda: model.predict(customers),
        "BG/NBD + Gamma-Gamma, fitted": lambda: (
            purchases.conditional_expected_number_of_purchases_up_to_time(39, *history)
            * value.conditional_expected_average_profit(*money)
        ),
        "E[orders], closed form": lambda: compose(timing, rate, rate, 39.0),
        "E[orders], weekly grid": on_a_grid,
    }
    return [
        {"scoring 23,570 customers": name, "ms": 1000 * seconds}
        for name, seconds in interleave(rivals).items()
    ]


def main() -> None:
    transactions = cdnow.load()
    tables: dict[str, Rows] = {}
    for title, (cutoff, horizon) in SPLITS.items():
        print(f"fitting: {title}", flush=True)
        tables[title] = split_table(transactions, cutoff, horizon)
    print("snapshot days, calibration, speed", flush=True)
    tables["The composite trained on other days, 39 weeks after 1997-09-30"] = snapshot_table(
        transactions
    )
    tables["Can calibration bring MAE down?"] = mae_table(transactions)
    tables["Speed"] = speed_table(transactions)
    publish("clv_composite", tables)


if __name__ == "__main__":
    main()
