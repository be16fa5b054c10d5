"""Edge inspection: time, memory, quality on real tiles.

TILES=<folder> TILES_REPORT=<folder> python -m benchmarks.canny_edge_qc

A folder of tiles has a folder good/ and one for each defect, with grey JPEG pictures
whose names begin with groupNNN_ for look-alikes. The rule was tuned on the first; the
second had no part in any choice. The tiles: abin24/Magnetic-tile-defect-datasets on
GitHub, of Huang, Qiu, Yuan, Surface defect saliency of magnetic tile, 2018. Without the
two folders the tables of the last run stay.
"""

import io
import os
import resource
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
from PIL import Image
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from benchmarks.report import Rows, publish, resident_mb

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
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def shaded(picture: np.ndarray) -> np.ndarray:
    return noisy(picture * np.linspace(0.75, 1, picture.shape[1]), 0)


CHANGES: dict[str, Change] = {
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
    tiles: pd.DataFrame, rule: Rule, golden: int = 150, change: Change = np.asarray
) -> pd.DataFrame:
    """Return a row per tested tile and seed; look-alikes are on one side of each split.

    Golden parts: at most `golden` from 60 % of the good groups. Test: all bad tiles and
    the good ones of the other groups, changed.
    """
    changed = tiles["picture"].map(change)
    good = tiles[tiles["defect"] == "good"]
    groups = np.unique(good["group"])
    rows = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        for_calibration = rng.permutation(groups)[: int(0.6 * len(groups))]
        candidates = good.index[good["group"].isin(for_calibration)]
        chosen = rng.permutation(candidates)[:golden]
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


def intervals(scored: pd.DataFrame, draws: int = 1000) -> dict[str, str]:
    """Return a 95 % interval of each measure, for one calibration and other tiles.

    Each draw of the bootstrap takes the calibration of one seed, and draws its groups
    of look-alikes with replacement: a row counts as often as its group is drawn.
    """
    rng = np.random.default_rng(0)
    by_seed = [rows for _, rows in scored.groupby("seed")]
    drawn = []
    for _ in range(draws):
        rows = by_seed[rng.integers(SEEDS)]
        is_bad = (rows["defect"] != "good").to_numpy()
        group, names = pd.factorize(rows["group"] + rows["defect"])
        times = np.bincount(rng.integers(len(names), size=len(names)))
        weight = np.pad(times, (0, len(names) - len(times)))[group]
        if weight[is_bad].sum() == 0 or weight[~is_bad].sum() == 0:
            continue
        failed = rows["failed"].to_numpy()
        drawn.append(
            {
                "AUROC": roc_auc_score(is_bad, rows["score"], sample_weight=weight),
                "found": np.average(failed[is_bad], weights=weight[is_bad]),
                "false alarms": np.average(failed[~is_bad], weights=weight[~is_bad]),
            }
        )
    low, high = pd.DataFrame(drawn).quantile([0.025, 0.975]).to_dict("records")
    return {name: f"{low[name]:.2f} to {high[name]:.2f}" for name in MEASURES}


def beside(
    what: str, report: dict[str, pd.DataFrame], tuning: dict[str, pd.DataFrame]
) -> Rows:
    """Return a row per key, with the measures of both parts beside each other."""
    rows: Rows = []
    for key in report:
        row: dict[str, Any] = {what: key}
        ours, tuned = means(report[key]), means(tuning[key])
        for measure in MEASURES:
            row |= {measure: ours[measure], f"{measure}, tuning": tuned[measure]}
        rows.append(row)
    return rows


def of_rules(tiles: pd.DataFrame) -> dict[str, pd.DataFrame]:
    rules: dict[str, Rule] = {"the model": edge_rule}
    rules |= {name: changed_model(*texts) for name, texts in WITHOUT.items()}
    rules["too many Canny edges (50, 150)"] = density_rule
    return {name: score(tiles, rule) for name, rule in rules.items()}


def of_defects(whole: pd.DataFrame) -> dict[str, pd.DataFrame]:
    is_good = whole["defect"] == "good"
    defects = sorted(set(whole["defect"]) - {"good"})
    return {defect: whole[is_good | (whole["defect"] == defect)] for defect in defects}


def of_numbers(tiles: pd.DataFrame, whole: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the scores with 20, 60 and 150 good parts."""
    few = {str(number): score(tiles, edge_rule, number) for number in (20, 60)}
    return few | {"150": whole}


def expected_rate(number: int) -> str:
    """Return the range of false alarms of nine in ten calibrations on so many parts."""
    rank = int(np.ceil(0.95 * (number + 1)))
    low, high = beta.ppf([0.05, 0.95], number + 1 - rank, rank)
    return f"{low:.3f} to {high:.3f}"


def quality(tuning: pd.DataFrame, report: pd.DataFrame) -> dict[str, Rows]:
    rules, tuned_rules = of_rules(report), of_rules(tuning)
    whole, tuned = rules["the model"], tuned_rules["the model"]
    numbers, tuned_numbers, ranges = means(whole), means(tuned), intervals(whole)
    first: Rows = []
    for measure in MEASURES:
        row: dict[str, Any] = {"measure": measure}
        row[f"{len(report)} tiles for reporting"] = numbers[measure]
        row["95 % interval"] = ranges[measure]
        row[f"{len(tuning)} tiles for tuning"] = tuned_numbers[measure]
        first.append(row)
    defects = of_defects(whole)
    by_defect = beside("defect", defects, of_defects(tuned))
    for row in by_defect:
        tiles = int((report["defect"] == row["defect"]).sum())
        del row["false alarms"], row["false alarms, tuning"]
        row |= {"95 % of found": intervals(defects[row["defect"]])["found"]}
        row |= {"tiles": tiles}
    by_number = beside(
        "good parts", of_numbers(report, whole), of_numbers(tuning, tuned)
    )
    for row in by_number:
        row |= {"9 of 10 calibrations": expected_rate(int(row["good parts"]))}
    changed: Rows = [{"change": "none"} | means(whole)]
    for name, change in CHANGES.items():
        scored = score(report, edge_rule, change=change)
        changed.append({"change": name} | means(scored))
    return {
        "The model on real tiles": first,
        "What each step is worth": beside("rule", rules, tuned_rules),
        "By defect": by_defect,
        "By number of good parts": by_number,
        "Pictures changed after the calibration": changed,
    }


def seconds_for(picture: bytes | np.ndarray, calibration: dict[str, float]) -> float:
    started = time.process_time()
    grey = read_grey(picture) if isinstance(picture, bytes) else picture
    inspect(grey, calibration)
    return time.process_time() - started


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def costs() -> dict[str, Rows]:
    """Return CPU time on one core for small pictures, and for a photograph of 24 MP."""
    golden = make_parts(0, 32, 0, 0).golden
    parts = [cv2.resize(part, (332, 332)) for part in golden]
    calibration = calibrate(parts)
    files = [jpeg(part) for part in parts]
    rows: Rows = []
    for what, pictures in {"inspect": parts, "read JPEG, inspect": files}.items():
        times = [seconds_for(picture, calibration) for picture in pictures * 10]
        took = float(np.median(times))
        row = {"one core": what, "CPU ms": 1000 * took, "pictures a second": 1 / took}
        rows.append(row)
    large = cv2.resize(golden[0], (6000, 4000), interpolation=cv2.INTER_CUBIC)
    photograph = jpeg(np.dstack([large] * 3))
    before = resident_mb()
    took = float(np.median([seconds_for(photograph, calibration) for _ in range(5)]))
    further = {"picture": "colour JPEG, 6000 x 4000", "CPU s": took}
    further["memory, MB"] = peak_mb() - before
    return {"A picture of 110,000 pixels": rows, "A photograph of 24 MP": [further]}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    publish("canny_edge_qc", costs())
    if os.environ.get("TILES") and os.environ.get("TILES_REPORT"):
        folders = [Path(os.environ[name]) for name in ("TILES", "TILES_REPORT")]
        best = {"AUROC": "max", "found": "max", "false alarms": "min"}
        tables = quality(*[read_tiles(folder) for folder in folders])
        publish("canny_edge_qc_tiles", tables, best=best)
