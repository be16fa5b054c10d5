"""How well parts are told apart, step by step from the textbook rule to the whole one; figures."""

from typing import Any

import numpy as np
import pandas as pd
from golden_edges.rules import (
    canny_thresholds,
    density,
    direction,
    edge_features,
    excess,
    features,
    left_out_scores,
    limit,
    score,
    textbook_edges,
    usual_and_high,
)
from golden_edges.surface import even_light, flatten, normalise, read_grey, upright
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#777777"  # told apart by colour-blind eyes too
STEPS = {  # how the picture is evened, and which features count
    "2 against golden parts": ("raw", "one scale"),
    "3 flattened along the grain": ("flat", "one scale"),
    "4 in local deviations": ("even", "one scale"),
    "5 at three scales": ("even", "all scales"),
    "6 rim apart, contrast, light": ("even", "whole"),
}


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """Return the chance that a bad part scores higher than a good one; ties count half."""
    ranks = pd.Series(np.r_[good, bad]).rank().to_numpy()[len(good) :]
    return float((ranks.sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def scaled(picture: np.ndarray) -> np.ndarray:
    """Return the picture in deviations of the whole of it, without local normalisation."""
    return (picture - picture.mean()) / max(float(picture.std()), 1e-3)


def looks(picture: np.ndarray, known: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the upright picture raw, and flattened."""
    raw, flat = picture.astype(np.float32), flatten(even_light(picture)[0], direction(known))
    return {"raw": scaled(raw), "flat": scaled(flat)}


def merged(values: np.ndarray) -> np.ndarray:
    """Return edge features (n, 12) with the rim not told apart (n, 6)."""
    return values.reshape(len(values), -1, 2, 2).max(axis=2).reshape(len(values), -1)


def measure(
    pictures: list[np.ndarray], known: dict[str, Any], canny: dict[str, list[float]]
) -> dict[tuple[str, str], np.ndarray]:
    """Return the features of all upright pictures, float64 (n, k), for each way of STEPS."""
    whole = np.array([features(picture, known)[0] for picture in pictures])
    edges: dict[str, list[list[float]]] = {way: [] for way in canny}
    for picture in pictures:
        for way, look in looks(picture, known).items():
            edges[way].append(edge_features(look, canny[way])[0])
    return {
        ("even", "whole"): whole,
        ("even", "all scales"): merged(whole[:, :12]),
        ("even", "one scale"): merged(whole[:, :4]),
        **{(way, "one scale"): merged(np.log(values)) for way, values in edges.items()},
    }


def steps(parts: Any, known: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what each step is worth, a row per step, and each unseen part's defect score.

    AUROC over all defects and for each one; "false alarms" and "found" are the shares of good and
    bad unseen parts above the step's own limit, taken from the golden parts.
    """
    files = {"golden": parts.golden, "good": parts.good, "bad": [file for _, file in parts.bad]}
    pictures = {
        side: [upright(read_grey(file), known["angle"])[0] for file in those]
        for side, those in files.items()
    }
    seen = [looks(picture, known) for picture in pictures["golden"]]
    canny = {way: canny_thresholds(look[way] for look in seen)[:1] for way in seen[0]}
    measured = {side: measure(those, known, canny) for side, those in pictures.items()}
    share = {s: np.array([density(textbook_edges(p)) for p in pictures[s]]) for s in pictures}
    points = {"1 Canny, edge density": {s: share[s] / limit(share["golden"]) for s in share}}
    for step, way in STEPS.items():
        golden = measured["golden"][way]
        highest, against = limit(left_out_scores(golden)), usual_and_high(golden)
        points[step] = {s: score(excess(measured[s][way], *against)) / highest for s in measured}
    names = np.array([defect for defect, _ in parts.bad])
    defects = list(dict.fromkeys(names.tolist()))
    table = pd.DataFrame(
        {
            step: {
                "AUROC": auroc(p["good"], p["bad"]),
                **{d: auroc(p["good"], p["bad"][names == d]) for d in defects},
                "false alarms": (p["good"] > 1).mean(),
                "found": (p["bad"] > 1).mean(),
            }
            for step, p in points.items()
        }
    ).T
    last = points[table.index[-1]]
    kinds = ["none"] * len(parts.good) + names.tolist()
    return table, pd.DataFrame({"defect": kinds, "score": np.r_[last["good"], last["bad"]]})


def show_steps(good: bytes, bad: bytes, known: dict[str, Any], marked: list[np.ndarray]) -> Figure:
    """Return a good part (above) and a bad one as each step sees them; `marked`: BGR."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    axes = figure.subplots(2, 5)
    for row, file, overlay in zip(axes, (good, bad), marked, strict=True):
        grey = read_grey(file)
        flat = flatten(even_light(grey)[0], direction(known))
        even = normalise(flat)[0]
        shown: list[tuple[str, np.ndarray, dict[str, float]]] = [
            ("photograph", grey, {"vmin": 0, "vmax": 255}),
            ("Canny 50/150: grain", textbook_edges(grey), {}),
            ("flattened along the grain", flat, {"vmin": -0.3, "vmax": 0.3}),
            ("in local deviations", even, {"vmin": -4, "vmax": 4}),
            ("edges that stand out, largest boxed", overlay[:, :, ::-1], {}),
        ]
        for axis, (title, picture, levels) in zip(row, shown, strict=True):
            axis.imshow(picture, cmap="gray", **levels)
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
    axes[0, 0].set_ylabel("good part")
    axes[1, 0].set_ylabel("hairline crack")
    return figure


def show_scores(table: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Return AUROC per step, and each part's defect score by kind with the limit."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(table.index)[::-1]
    left.barh(names, table["AUROC"][::-1], color=[ORANGE, *[BLUE] * 4, GREY])
    left.axvline(0.5, color="black", linewidth=1, linestyle=":")
    left.bar_label(left.containers[0], fmt="%.2f", padding=3)
    left.set(xlim=(0.3, 1.05), xlabel="AUROC on unseen parts (0.5: a coin)")
    rng = np.random.default_rng(0)
    for at, (kind, group) in enumerate(scores.groupby("defect", sort=False)):
        colour = BLUE if kind == "none" else ORANGE
        x = at + rng.uniform(-0.25, 0.25, len(group))
        right.scatter(x, group["score"], s=14, color=colour, alpha=0.7)
    right.axhline(1, color="black", linewidth=1)
    right.set_xticks(range(scores["defect"].nunique()), scores["defect"].unique())
    right.set(yscale="symlog", ylabel="defect score (1: limit)", xlabel="defect", ylim=(0, None))
    right.set_yticks([0, 0.5, 1, 2, 5], ["0", "0.5", "1", "2", "5"])
    right.minorticks_off()
    return figure
