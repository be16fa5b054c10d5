"""Edge inspection: time, memory, quality on real tiles.

TILES=<folder> TILES_REPORT=<folder> python -m benchmarks.canny_edge_qc

A folder of tiles has a folder good/ and one for each defect, with grey JPEG pictures
whose names begin with groupNNN_ for look-alikes. The rule was tuned on the first; the
second had no part in any choice. The tiles: abin24/Magnetic-tile-defect-datasets on
GitHub, of Huang, Qiu, Yuan, Surface defect saliency of magnetic tile, 2018. Without the
two folders the tables of the last run stay.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.recipes import find

import cv2
import numpy as np
import pandas as pd

from benchmarks.pictures import picture_file
from benchmarks.report import Rows, interleave, publish, spread

RECIPE = find("canny_edge_qc")
sys.path.insert(0, str(RECIPE.path))  # where its files find each other

from evaluation import Scorer, density_rule, edge_rule, summary  # noqa: E402
from model_code import calibrate, inspect, read_grey  # noqa: E402
from parts import make_parts  # noqa: E402

Rule = Callable[[list[np.ndarray]], Scorer]
Change = Callable[[np.ndarray], np.ndarray]
SEEDS = 10
MEASURES = ("AUROC", "found", "false alarms")
# What each step is worth: a text of the model's code, and what stands in its place.
WITHOUT = {
    "no logarithm": ("np.log(grey + np.float32(DARK))", "grey.astype(np.float32)"),
    "no mean along the grain": (
        "levels - cv2.blur(levels, (1, window))",
        "levels - levels.mean()",
    ),
    "no mean at the grain's ends": (
        "return subtract_ends(surface, window)",
        "return surface",
    ),
    "no border cut off": ("RIM = 0.04", "RIM = 0"),
    "no division by the deviation": ("max(surface.std(), 1e-3)", "0.04"),
    "full size, not half": ("even_out_light(halve(grey))", "even_out_light(grey)"),
}


def noisy(picture: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int = 95) -> bytes:
    return picture_file(picture, "JPEG", quality=quality)


def shaded(picture: np.ndarray) -> np.ndarray:
    return noisy(picture * np.linspace(0.75, 1, picture.shape[1]), 0)


CHANGES: dict[str, Change] = {
    "none": np.asarray,
    "turned by 90 degrees": np.rot90,
    "shadow to 75 % at one side": shaded,
    "JPEG, quality 60": lambda picture: read_grey(jpeg(picture, 60)),
    "JPEG, quality 30": lambda picture: read_grey(jpeg(picture, 30)),
    "noise of 3 grey levels": lambda picture: noisy(picture, 3),
    "noise of 8 grey levels": lambda picture: noisy(picture, 8),
    "out of focus (Gaussian of 2 px)": lambda picture: cv2.GaussianBlur(
        picture, (0, 0), 2.0
    ),
}


def changed_model(text: str, replacement: str) -> Rule:
    """Return the model as a rule, with one text of its code replaced."""
    source = (RECIPE.path / "model_code.py").read_text(encoding="utf-8")
    assert source.count(text) == 1, text
    code = ModuleType("changed_model")
    exec(source.replace(text, replacement), vars(code))
    return partial(edge_rule, code=code)


def read_tiles(folder: Path) -> pd.DataFrame:
    """Return a row per tile: picture, defect, group of look-alikes."""
    rows = []
    for file in sorted(folder.glob("*/*.jpg")):
        picture = read_grey(file.read_bytes())
        rows.append((picture, file.parent.name, file.name[:8]))
    return pd.DataFrame(rows, columns=["picture", "defect", "group"])


def score(
    tiles: pd.DataFrame, rule: Rule = edge_rule, change: Change = np.asarray
) -> pd.DataFrame:
    """Return a row per tested tile and seed; look-alikes are on one side of each split.

    Golden parts: at most 150 from 60 % of the good groups. Test: all bad tiles and the
    good ones of the other groups, changed.
    """
    changed = tiles["picture"].map(change)
    good = tiles[tiles["defect"] == "good"]
    groups = np.unique(good["group"])
    rows = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        for_calibration = rng.permutation(groups)[: int(0.6 * len(groups))]
        candidates = good.index[good["group"].isin(for_calibration)]
        chosen = rng.permutation(candidates)[:150]
        test = tiles.drop(candidates)
        scorer = rule([*tiles["picture"][chosen]])
        answers = [scorer(picture) for picture in changed[test.index]]
        scored = pd.DataFrame(answers, test.index, ["score", "failed"])
        rows.append(scored.join(test[["defect", "group"]]))
    return pd.concat(rows, keys=range(SEEDS), names=["seed"])


def means(scored: pd.DataFrame) -> dict[str, float]:
    """Return the measures, each the mean over the seeds."""
    seeds = pd.DataFrame([summary(rows) for _, rows in scored.groupby("seed")])
    return {str(name): float(seeds[name].mean()) for name in seeds}


def intervals(scored: pd.DataFrame) -> dict[str, str]:
    """Return a 95 % interval of each measure, for one calibration and other tiles.

    Each draw of the bootstrap takes the calibration of one seed, and draws its groups
    of look-alikes with replacement.
    """
    rng = np.random.default_rng(0)
    by_seed = [rows for _, rows in scored.groupby("seed")]
    drawn = []
    for _ in range(1000):
        rows = by_seed[rng.integers(SEEDS)]
        groups = [*rows.groupby(["group", "defect"], sort=False).indices.values()]
        numbers = rng.integers(len(groups), size=len(groups))
        chosen = np.concatenate([groups[number] for number in numbers])
        drawn.append(summary(rows.iloc[chosen]))
    low, high = pd.DataFrame(drawn).quantile([0.025, 0.975]).to_dict("records")
    return {name: f"{low[name]:.2f} to {high[name]:.2f}" for name in MEASURES}


def beside(tuning: pd.DataFrame, report: pd.DataFrame) -> dict[str, float]:
    """Return the measures of the tiles for reporting, each beside that for tuning."""
    row: dict[str, float] = {}
    ours, tuned = means(report), means(tuning)
    for measure in MEASURES:
        row |= {measure: ours[measure], f"{measure}, tuning": tuned[measure]}
    return row


def quality(tuning: pd.DataFrame, report: pd.DataFrame) -> dict[str, Rows]:
    rules: dict[str, Rule] = {"the model": edge_rule}
    rules |= {name: changed_model(*texts) for name, texts in WITHOUT.items()}
    rules["too many Canny edges (50, 150)"] = density_rule
    tuned, whole = score(tuning), score(report)
    numbers, tuned_numbers, ranges = means(whole), means(tuned), intervals(whole)
    return {
        "The model on real tiles": [
            {
                "measure": measure,
                f"{len(report)} tiles for reporting": numbers[measure],
                "95 % interval": ranges[measure],
                f"{len(tuning)} tiles for tuning": tuned_numbers[measure],
            }
            for measure in MEASURES
        ],
        "What each step is worth": [
            {"rule": name, **beside(score(tuning, rule), score(report, rule))}
            for name, rule in rules.items()
        ],
        "By defect": [
            by_defect(defect, tuned, whole)
            for defect in sorted(set(whole["defect"]) - {"good"})
        ],
        "Pictures changed after the calibration": [
            {"change": name, **means(score(report, change=change))}
            for name, change in CHANGES.items()
        ],
    }


def by_defect(defect: str, tuned: pd.DataFrame, whole: pd.DataFrame) -> dict[str, Any]:
    """Return how well one defect is told from good tiles."""
    kinds = ["good", defect]
    tuned, whole = (part[part["defect"].isin(kinds)] for part in (tuned, whole))
    row: dict[str, Any] = {"defect": defect, **beside(tuned, whole)}
    del row["false alarms"], row["false alarms, tuning"]
    row["95 % of found"] = intervals(whole)["found"]
    row["tiles"] = int((whole["defect"] == defect).sum() / SEEDS)
    return row


def read_and_inspect(picture: bytes, calibration: dict[str, float]) -> None:
    inspect(read_grey(picture), calibration)


def costs() -> Rows:
    """Return the CPU time of a picture on one core."""
    golden = make_parts(0, 32, 0, 0).golden
    parts = [cv2.resize(part, (332, 332)) for part in golden]
    calibration = calibrate(parts)
    ways = {
        "inspect": partial(inspect, parts[0], calibration),
        "read JPEG, inspect": partial(read_and_inspect, jpeg(parts[0]), calibration),
    }
    times = 1000 * interleave(ways, 30, time.process_time)
    return [
        {
            "one core": what,
            "CPU ms": ms.median(),
            "least to most": spread(ms),
            "pictures a second": 1000 / ms.median(),
        }
        for what, ms in times.items()
    ]


if __name__ == "__main__":
    cv2.setNumThreads(1)
    publish("canny_edge_qc", {"A picture of 110,000 pixels": costs()})
    if os.environ.get("TILES") and os.environ.get("TILES_REPORT"):
        folders = [Path(os.environ[name]) for name in ("TILES", "TILES_REPORT")]
        best = {"AUROC": "max", "found": "max", "false alarms": "min"}
        tables = quality(*[read_tiles(folder) for folder in folders])
        publish("canny_edge_qc_tiles", tables, best=best)
