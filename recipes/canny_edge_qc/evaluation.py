"""Score parts that took no part in the calibration, and draw what the model sees."""

from collections.abc import Callable
from typing import Any

import cv2
import model_code
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from parts import Parts
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

Pictures = list[np.ndarray]
Scorer = Callable[[np.ndarray], tuple[float, bool]]  # a part's score; whether it fails


def edge_rule(good: Pictures, code: Any = model_code) -> Scorer:
    """Return the model, calibrated on these good parts."""
    calibration = code.calibrate(good)

    def score(part: np.ndarray) -> tuple[float, bool]:
        answer = code.inspect(part, calibration)
        return answer["defect_score"], answer["verdict"] == "fail"

    return score


def density_rule(good: Pictures) -> Scorer:
    """Return the textbook rule, "too many Canny edges", limited by the same parts."""

    def density(part: np.ndarray) -> float:
        return float((cv2.Canny(part, 50, 150) > 0).mean())

    densities = [density(part) for part in good]
    limit = np.quantile(densities, 0.95, method="higher")

    def score(part: np.ndarray) -> tuple[float, bool]:
        return density(part), bool(density(part) > limit)

    return score


def evaluate(parts: Parts, rule: Callable[[Pictures], Scorer]) -> pd.DataFrame:
    """Return defect, score and failed of each part that the rule has not seen.

    Without further good parts, each fifth of the golden ones is scored by a calibration
    on the others.
    """
    score = rule(parts.golden)
    rows = [("good", *score(part)) for part in parts.good]
    rows += [(defect, *score(part)) for defect, part in parts.bad]
    if not parts.good:
        folds = KFold(5, shuffle=True, random_state=0).split(parts.golden)
        for others, fifth in folds:
            score = rule([parts.golden[number] for number in others])
            rows += [("good", *score(parts.golden[number])) for number in fifth]
    return pd.DataFrame(rows, columns=["defect", "score", "failed"])


def summary(scored: pd.DataFrame) -> dict[str, float]:
    """Return false alarms; with bad parts also the share found and the AUROC."""
    is_bad = scored["defect"] != "good"
    numbers = {"false alarms": float(scored["failed"][~is_bad].mean())}
    if is_bad.any():
        numbers["found"] = float(scored["failed"][is_bad].mean())
        numbers["AUROC"] = float(roc_auc_score(is_bad, scored["score"]))
    return numbers


def draw(
    pictures: dict[str, np.ndarray], answer: pd.DataFrame, scored: pd.DataFrame
) -> Figure:
    """Draw each picture with its box over its gradients, and the scores by defect."""
    columns = len(pictures) + 1
    figure = Figure(figsize=(2.4 * columns + 0.6, 5), layout="constrained")
    grid = figure.add_gridspec(2, columns, width_ratios=[1.0] * len(pictures) + [1.3])
    for column, (name, grey) in enumerate(pictures.items()):
        result = answer.iloc[column]
        above = figure.add_subplot(grid[0, column])
        above.imshow(grey, cmap="gray", vmin=0, vmax=255)
        corner = (result["x"], result["y"])
        box = Rectangle(corner, result["width"], result["height"], fill=False)
        box.set_edgecolor("#E69F00")
        above.add_patch(box)
        title = f"{name}: {result['verdict']}, {result['defect_score']:.2f}"
        above.set_title(title, fontsize=9)
        below = figure.add_subplot(grid[1, column])
        dx, dy = model_code.surface_gradients(grey)
        below.imshow(np.hypot(dx, dy), cmap="gray", vmin=0, vmax=3000)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    draw_scores(figure.add_subplot(grid[:, -1]), scored)
    return figure


def draw_scores(axis: Axes, scored: pd.DataFrame) -> None:
    """Draw each part's score by defect, with the limit."""
    defects = list(scored["defect"].unique())
    axis.scatter(scored["defect"].map(defects.index), scored["score"], s=12, alpha=0.6)
    axis.axhline(1, color="black", linewidth=1)
    axis.set_xticks(range(len(defects)), defects, rotation=45)
    axis.set(ylabel="defect score (1: the limit)", ylim=(0, None))
