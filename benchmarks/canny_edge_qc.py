"""Edge inspection: time, memory, real tiles: TILES=<folder> python -m benchmarks.canny_edge_qc

TILES has a folder good/ and one for each defect, with grey JPEG pictures whose names begin with
groupNNN_ for look-alikes. To be had: abin24/Magnetic-tile-defect-datasets on GitHub, of Huang, Qiu,
Yuan, Surface defect saliency of magnetic tile, 2018. Without it the tables of its last run stay.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

from shared.recipes import find

import cv2
import numpy as np
import pandas as pd

from benchmarks.report import Rows, publish

RECIPE = find("canny_edge_qc")
sys.path.insert(0, str(RECIPE.path))  # where its files find each other

from evaluation import Scorer, edge_density, largest_edge, summary  # noqa: E402
from model_code import calibrate, inspect, read_grey  # noqa: E402
from parts import make_parts  # noqa: E402

Rule = Callable[[list[np.ndarray]], Scorer]
VARIANTS = {  # what each step is worth: a text of the model's code, and what stands in its place
    "grey levels, no log": ("np.log(np.arange(20, 276, ", "(np.arange(20, 276, "),
    "no mean along the grain": ("cv2.blur(light, (1, window))", "light.mean()"),
    "no mean at the ends": ("cv2.blur(end, (window, 1))", "0"),
    "no rim cut": ("RIM = 0.2, 0.15, 0.04", "RIM = 0.2, 0.15, 0"),
    "no unit of deviation": ("half /= max(float(half.std()), 1e-3)", "half *= 8"),
    "full size, not half": ("(width, height)", "light.shape[::-1]"),
    "sum of gradients, not of squares": ("strength**2", "strength"),
    "windows a quarter smaller": ("RIM = 0.2, 0.15, 0.04", "RIM = 0.15, 0.11, 0.03"),
    "windows a quarter larger": ("RIM = 0.2, 0.15, 0.04", "RIM = 0.25, 0.19, 0.05"),
}


def add(picture: np.ndarray, noise: float = 0, more: float = 0) -> np.ndarray:
    grey = (
        picture + float(more) + np.random.default_rng(0).normal(0, noise, picture.shape)
    )
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.asarray,
    "turned by 90 degrees": np.rot90,
    "turned by 180 degrees": lambda p: np.rot90(p, 2),
    "20 % darker": lambda p: add(p * 0.8),
    "20 % brighter": lambda p: add(p * 1.2),
    "20 grey levels brighter": lambda p: add(p, more=20),
    "shadow to 75 % at one side": lambda p: add(p * np.linspace(0.75, 1, p.shape[1])),
    "JPEG, quality 60": lambda p: read_grey(jpeg(p, 60)),
    "noise of 3 grey levels": lambda p: add(p, noise=3),
    "noise of 8 grey levels": lambda p: add(p, noise=8),
    "noise of 20 grey levels": lambda p: add(p, noise=20),
    "out of focus (Gaussian of 2 px)": lambda p: cv2.GaussianBlur(p, (0, 0), 2.0),
    "1 bit, dithered": lambda p: add(np.where(add(p, noise=60) > p.mean(), 255, 0)),
}


def variant(old: str, new: str) -> Rule:
    """Return the model as a rule, with one text of its code replaced."""
    text, code = (
        (RECIPE.path / "model_code.py").read_text(encoding="utf-8"),
        ModuleType("variant"),
    )
    assert text.count(old) == 1, old
    exec(text.replace(old, new), vars(code))
    return FunctionType(
        largest_edge.__code__, vars(code)
    )  # the same, on the variant's functions


def score(
    tiles: pd.DataFrame, rule: Rule, golden: int = 150, change: str = "none"
) -> pd.DataFrame:
    """Return a row per tested picture and seed; look-alikes are on one side of each split.

    Golden parts: at most `golden` from 60 % of the good groups. Test: all bad pictures and the good
    ones of the other groups, changed.
    """
    changed, rows = tiles["picture"].map(CHANGES[change]), []
    good = tiles[tiles["defect"] == "good"]
    for seed in range(10):
        rng, groups = np.random.default_rng(seed), np.unique(good["group"])
        ours = good.index[
            good["group"].isin(rng.permutation(groups)[: int(0.6 * len(groups))])
        ]
        chosen, test = rng.permutation(ours)[:golden], tiles.drop(ours)
        answers = map(rule([*tiles["picture"][chosen]]), changed[test.index])
        rows.append(
            pd.DataFrame(answers, test.index, ["score", "failed"]).join(test["defect"])
        )
    return pd.concat(rows, keys=range(10), names=["seed"])


def means(scored: pd.DataFrame) -> dict[str, float]:
    """Return the mean over the seeds of AUROC, found and false alarms, and AUROC's deviation."""
    seeds = pd.DataFrame([summary(rows) for _, rows in scored.groupby("seed")])
    return {
        "AUROC": seeds["AUROC"].mean(),
        "+-": seeds["AUROC"].std(ddof=0),
        **seeds.mean(),
    }


def of_tiles(folder: Path) -> dict[str, Rows]:
    files = sorted(folder.glob("*/*.jpg"))
    rows = [
        (read_grey(file.read_bytes()), file.parent.name, file.name[:8])
        for file in files
    ]
    tiles = pd.DataFrame(rows, columns=["picture", "defect", "group"])
    whole, changed, tables = score(tiles, largest_edge), [], {}
    bad = whole["defect"] != "good"
    for change in CHANGES:
        after = score(tiles, largest_edge, change=change)
        flips = {"verdicts changed": (after["failed"] != whole["failed"]).mean()}
        flips["bad parts, fail to pass"] = (whole["failed"] & ~after["failed"])[
            bad
        ].mean()
        changed.append({"change": change, **flips, **means(after)})
    rules = {"edge density, Canny 50/150": edge_density, "the model": largest_edge}
    rules |= {f"the model, {name}": variant(*texts) for name, texts in VARIANTS.items()}
    tables["rule"] = {name: score(tiles, rule) for name, rule in rules.items()}
    tables["good parts"] = {
        str(n): score(tiles, largest_edge, n) for n in (20, 60, 150)
    }
    kinds = sorted(set(tiles["defect"]) - {"good"})
    tables["defect"] = {kind: whole[~bad | (whole["defect"] == kind)] for kind in kinds}
    return {
        f"By {what}, {len(files)} tiles": [
            {what: k, **means(v)} for k, v in table.items()
        ]
        for what, table in tables.items()
    } | {f"Changed after the calibration, {len(files)} tiles": changed}


def clock(picture: bytes | np.ndarray, calibration: dict[str, float]) -> float:
    started = time.process_time()
    inspect(read_grey(picture) if isinstance(picture, bytes) else picture, calibration)
    return time.process_time() - started


def costs() -> dict[str, Rows]:
    """Return CPU time on one core for a picture of 110 kpx, and time and memory per megapixel."""
    parts = [cv2.resize(part, (332, 332)) for part in make_parts(0, 32, 0, 0).golden]
    known, large = calibrate(parts), []
    for side in (5000, 7000):  # 25 and 49 megapixels; the peak of a process only grows
        seconds = clock(cv2.resize(parts[0], (side, side)), known)
        large.append(
            (seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        )
    seconds, mb = np.diff(large, axis=0)[0] / 24
    rows: Rows = []
    for what, pictures in {
        "inspect": parts,
        "read JPEG, inspect": map(jpeg, parts),
    }.items():
        took = float(np.median([clock(picture, known) for picture in [*pictures] * 10]))
        rows.append(
            {"one core": what, "CPU ms": 1000 * took, "pictures a second": 1 / took}
        )
    further: Rows = [{"CPU ms": 1000 * seconds, "peak MB": mb}]
    return {"A picture of 110,000 pixels": rows, "Each further megapixel": further}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    publish("canny_edge_qc", costs())
    if folder := os.environ.get("TILES"):
        publish("canny_edge_qc_tiles", of_tiles(Path(folder)))
