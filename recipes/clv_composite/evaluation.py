"""Score forecasts of customer value against what was spent, and draw them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import mean_tweedie_deviance

COLOURS = ("#0072B2", "#D55E00")  # Okabe-Ito: distinct for colour-blind readers


def cumulative_gain(spent: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return the share of spending that the 0 to n highest forecasts hold."""
    by_forecast = np.argsort(-forecast, kind="stable")
    reached = np.cumsum(spent[by_forecast]) / spent.sum()
    return np.concatenate([[0.0], reached])


def gini(spent: np.ndarray, forecast: np.ndarray) -> float:
    """Return the area between gain curve and diagonal, 1 for the ideal ranking."""
    area = np.trapezoid(cumulative_gain(spent, forecast)) / len(spent) - 0.5
    ideal = np.trapezoid(cumulative_gain(spent, spent)) / len(spent) - 0.5
    return float(area / ideal)


def scores(spent: pd.Series, forecast: pd.Series) -> dict[str, float]:
    """Return the scores of `forecast` against `spent`, one value per customer each.

    Deviance is Tweedie's of power 1.5, proper for a mean among many zeros; Gini scores
    the ranking.
    """
    y = spent.to_numpy(float)
    p = forecast.to_numpy(float)
    positive = np.maximum(p, 1e-6)
    return {
        "deviance": float(mean_tweedie_deviance(y, positive, power=1.5)),
        "Gini": gini(y, p),
        "total error in percent": float(100 * (p.sum() / y.sum() - 1)),
        "RMSE": float(np.sqrt(np.mean((p - y) ** 2))),
    }


def figure(spent: pd.Series, forecasts: Mapping[str, pd.Series]) -> Figure:
    """Draw the spending by decile of each forecast, and the gain of its ranking."""
    chart = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    left, right = chart.subplots(1, 2)
    y = spent.to_numpy(float)
    for (name, forecast), colour in zip(forecasts.items(), COLOURS, strict=False):
        p = forecast.to_numpy(float)
        draw_deciles(left, y, p, name, colour)
        draw_gain(right, y, p, f"{name}, Gini {gini(y, p):.2f}", color=colour)
    draw_gain(right, y, y, "by what was spent", color="k", linestyle=":")
    right.plot([0, 100], [0, 100], color="0.6", linewidth=1, label="at random")
    left.set(
        title="Each forecast's own deciles",
        xlabel="decile by forecast (1 = highest)",
        ylabel="mean value per customer",
        xticks=range(1, 11),
        yscale="log",
    )
    left.yaxis.set_major_formatter("{x:g}")
    right.set(
        title="Cumulative gain",
        xlabel="customers, highest forecast first (%)",
        ylabel="spending reached (%)",
    )
    # A fixed place: matplotlib's search for the best one warns when it takes long.
    left.legend(loc="upper right", frameon=False)
    right.legend(loc="lower right", frameon=False)
    left.grid(alpha=0.3)
    right.grid(alpha=0.3)
    return chart


def draw_deciles(
    axes: Axes, spent: np.ndarray, forecast: np.ndarray, name: str, colour: str
) -> None:
    deciles = np.array_split(np.argsort(-forecast, kind="stable"), 10)
    predicted_means = [forecast[decile].mean() for decile in deciles]
    spent_means = [spent[decile].mean() for decile in deciles]
    numbers = range(1, 11)
    axes.plot(numbers, predicted_means, color=colour, label=f"{name}, predicted")
    axes.plot(
        numbers, spent_means, "o", color=colour, mfc="none", label=f"{name}, spent"
    )


def draw_gain(
    axes: Axes, spent: np.ndarray, forecast: np.ndarray, label: str, **style: Any
) -> None:
    share = np.linspace(0, 100, len(spent) + 1)
    axes.plot(share, 100 * cumulative_gain(spent, forecast), label=label, **style)
