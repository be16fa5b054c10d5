"""Score forecasts of customer value against what was spent, and draw it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import mean_tweedie_deviance

COLOURS = ("#0072B2", "#D55E00")  # Okabe-Ito: told apart by colour-blind readers


def gain(actual: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the share of spending held by the first 0..n customers when sorted down by `order`."""
    spent = actual[np.argsort(-order, kind="stable")]
    return np.concatenate([[0.0], np.cumsum(spent) / spent.sum()])


def gini(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return the area between gain curve and diagonal, 1 for the ranking by what was spent."""
    areas = [
        (gain(actual, by)[1:] + gain(actual, by)[:-1]).mean()
        for by in (predicted, actual)
    ]
    return float((areas[0] - 1) / (areas[1] - 1))


def scores(actual: pd.Series, predicted: pd.Series) -> dict[str, float]:
    """Return the scores of `predicted` against `actual` spending, one value per customer.

    deviance: Tweedie, power 1.5, proper for a mean with many zeros; Gini: of the ranking;
    total error in percent; RMSE.
    """
    y, p = actual.to_numpy(float), predicted.to_numpy(float)
    return {
        "deviance": float(mean_tweedie_deviance(y, np.maximum(p, 1e-6), power=1.5)),
        "Gini": gini(y, p),
        "total error in percent": float(100 * (p.sum() / y.sum() - 1)),
        "RMSE": float(np.sqrt(np.mean((p - y) ** 2))),
    }


def figure(actual: pd.Series, forecasts: Mapping[str, pd.Series]) -> Figure:
    """Return spending by decile of each forecast, and the cumulative gain of its ranking."""
    chart = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    deciles, gains = chart.subplots(1, 2)
    y, share = actual.to_numpy(float), np.linspace(0, 100, len(actual) + 1)
    for (name, forecast), colour, marker in zip(
        forecasts.items(), COLOURS, "os", strict=False
    ):
        p = forecast.to_numpy(float)
        tenths = np.array_split(np.argsort(-p, kind="stable"), 10)
        predicted, spent = ([v[tenth].mean() for tenth in tenths] for v in (p, y))
        deciles.plot(range(1, 11), predicted, color=colour, label=f"{name}, predicted")
        deciles.plot(
            range(1, 11),
            spent,
            marker,
            color=colour,
            mfc="none",
            label=f"{name}, spent",
        )
        gains.plot(
            share,
            100 * gain(y, p),
            color=colour,
            label=f"{name}, Gini {gini(y, p):.3f}",
        )
    gains.plot(share, 100 * gain(y, y), "k:", label="by what was spent")
    gains.plot([0, 100], [0, 100], color="0.6", linewidth=1, label="at random")
    deciles.set(
        title="Each forecast's own deciles", yscale="log", xticks=range(1, 11),
        xlabel="decile by forecast (1 = highest)", ylabel="mean value per customer",
    )  # fmt: skip
    deciles.yaxis.set_major_formatter("{x:g}")
    gains.set(
        title="Cumulative gain", xlabel="customers, highest forecast first (%)",
        ylabel="spending reached (%)",
    )  # fmt: skip
    for axes, place in ((deciles, "upper right"), (gains, "lower right")):
        axes.legend(
            loc=place, frameon=False
        )  # to look for the best place warns if it takes long
        axes.grid(alpha=0.3)
    return chart
