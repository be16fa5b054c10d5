"""What good parts alone tell about the model, what bad ones tell besides, and a figure of it."""

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from model_code import calibrate, gradients, inspect
from parts import Parts

Scorer = Callable[
    [np.ndarray], tuple[float, bool]
]  # a part's score, and whether it fails


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """Return the chance that a bad part scores higher than a good one; ties count half."""
    ranks = pd.Series(np.r_[good, bad]).rank().to_numpy()[len(good) :]
    return float((ranks.sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def largest_edge(good: list[np.ndarray]) -> Scorer:
    """Return the model, calibrated on these good parts."""
    calibration = calibrate(good)

    def score(part: np.ndarray) -> tuple[float, bool]:
        found = inspect(part, calibration)
        return found["defect_score"], found["verdict"] == "fail"

    return score


def edge_density(good: list[np.ndarray]) -> Scorer:
    """Return the textbook rule, "too many Canny edges", with a limit from the same good parts."""

    def density(part: np.ndarray) -> float:
        return float((cv2.Canny(part, 50, 150) > 0).mean())

    limit = np.quantile([density(part) for part in good], 0.95, method="higher")
    return lambda part: (density(part), density(part) > limit)


def evaluate(parts: Parts, rule: Callable[[list[np.ndarray]], Scorer]) -> pd.DataFrame:
    """Return a row per part that took no part in the calibration: defect, score, failed.

    Without good parts of their own for the test, each fifth of the golden ones is scored by a
    calibration on the others.
    """
    score = rule(parts.golden)
    rows = [("good", *score(part)) for part in parts.good]
    for fold in range(0 if parts.good else 5):
        others = [part for i, part in enumerate(parts.golden) if i % 5 != fold]
        rows += [("good", *found) for found in map(rule(others), parts.golden[fold::5])]
    rows += [(defect, *score(part)) for defect, part in parts.bad]
    return pd.DataFrame(rows, columns=["defect", "score", "failed"])


def summary(scored: pd.DataFrame) -> dict[str, float]:
    """Return the share of false alarms and, if there are bad parts, what is found of them."""
    good = scored["defect"] == "good"
    numbers = {"false alarms": float(scored["failed"][good].mean())}
    if not good.all():
        numbers["found"] = float(scored["failed"][~good].mean())
        numbers["AUROC"] = auroc(
            *(scored["score"][side].to_numpy() for side in (good, ~good))
        )
    return numbers


def show(
    pictures: dict[str, np.ndarray], answer: pd.DataFrame, scored: pd.DataFrame
) -> Figure:
    """Return each picture with its box over the gradients Canny sees, and the scores by defect."""
    figure = Figure(figsize=(2.4 * len(pictures) + 3, 5), layout="constrained")
    grid = figure.add_gridspec(
        2, len(pictures) + 1, width_ratios=[*[1] * len(pictures), 1.3]
    )
    rows = zip(pictures.items(), answer.to_dict("records"), strict=True)
    for column, ((name, grey), found) in enumerate(rows):
        slopes, _, turned = gradients(grey)
        seen = np.rot90(np.abs(slopes.astype(float)).sum(axis=0), -turned)
        top, below = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        top.imshow(grey, cmap="gray", vmin=0, vmax=255)
        below.imshow(seen, cmap="gray", vmin=0, vmax=10_000)
        box = (found["x"], found["y"]), found["width"], found["height"]
        top.add_patch(Rectangle(*box, fill=False, color="#E69F00"))
        top.set_title(
            f"{name}: {found['verdict']}, {found['defect_score']:.2f}", fontsize=9
        )
        for axis in (top, below):
            axis.set(xticks=[], yticks=[])
    show_scores(figure.add_subplot(grid[:, -1]), scored)
    return figure


def show_scores(axis: Axes, scored: pd.DataFrame) -> None:
    """Draw each part's score by defect, with the limit."""
    kinds = list(dict.fromkeys(scored["defect"]))
    axis.scatter(scored["defect"].map(kinds.index), scored["score"], s=12, alpha=0.6)
    axis.axhline(1, color="black", linewidth=1)
    axis.set_xticks(range(len(kinds)), kinds, rotation=45)
    axis.set(ylabel="defect score (1: the limit)", ylim=(0, None))
