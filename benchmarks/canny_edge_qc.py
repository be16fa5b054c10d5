"""Edge inspection: real tiles (TILES=<folder>), drawn parts, photographs, changes, speed, memory.

python -m benchmarks.canny_edge_qc

TILES is a folder with good/ and a folder for each defect, grey JPEG pictures in them, names that
begin with groupNNN_ for look-alikes. The public "Magnetic tile defect" data can be laid out so:
Huang, Qiu, Yuan, Surface defect saliency of magnetic tile, The Visual Computer 2018; on GitHub
abin24/Magnetic-tile-defect-datasets. Without TILES the tables of the last run with it stay.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pandas as pd

from benchmarks.report import Rows, publish
from shared.recipes import find

RECIPE = find("canny_edge_qc")
sys.path.insert(0, str(RECIPE.path))  # where its files find each other

import model_code  # noqa: E402
from evaluation import Scorer, edge_density, evaluate, largest_edge, summary  # noqa: E402
from parts import DEFECTS, Parts, blemish, ground, make_parts, shoot  # noqa: E402

Picture = np.ndarray
Change = Callable[[Picture], Picture]
Rule = Callable[[list[Picture]], Scorer]
STEPS = {  # what each step of the model is worth: its line, and what stands there without it
    "grey levels, no log": ("np.log(grey + np.float32(20))", "grey.astype(np.float32)"),
    "no mean along the grain": ("cv2.blur(light, (1, window))", "light.mean()"),
    "no mean at the ends": ("cv2.blur(end, (window, 1))", "0"),
    "no rim cut": ("RIM = 0.3, 0.15, 0.04", "RIM = 0.3, 0.15, 0.0"),
    "no unit of deviation": ("half /= max(float(half.std()), 1e-3)", "half *= 8"),
    "full size, not half": ("(width, height)", "light.shape[::-1]"),
    "one threshold, not two": ("0.8 * canny", "canny"),
    "sum of gradients, not of squares": ("strength**2", "strength"),
}


def noisy(deviation: float) -> Change:
    return lambda p: cv2.add(p, np.random.default_rng(0).normal(0, deviation, p.shape), dtype=0)


def shaded(picture: Picture) -> Picture:
    return np.rint(picture * np.linspace(0.75, 1, picture.shape[1])).astype(np.uint8)


def jpeg60(picture: Picture) -> Picture:
    file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    return model_code.read_grey(file)


def dithered(picture: Picture) -> Picture:
    threshold = np.random.default_rng(0).integers(0, 256, picture.shape)
    return np.where(picture > threshold, 255, 0).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "turned by 90 degrees": lambda p: np.rot90(p).copy(),
    "turned by 180 degrees": lambda p: np.rot90(p, 2).copy(),
    "turned by 270 degrees": lambda p: np.rot90(p, 3).copy(),
    "20 % darker": lambda p: cv2.convertScaleAbs(p, alpha=0.8),
    "20 % brighter": lambda p: cv2.convertScaleAbs(p, alpha=1.2),
    "20 grey levels brighter": lambda p: cv2.add(p, np.full_like(p, 20)),
    "shadow to 75 % at one side": shaded,
    "JPEG, quality 60": jpeg60,
    **{f"noise of {deviation} grey levels": noisy(deviation) for deviation in (3, 8, 20)},
    "out of focus (Gaussian of 2 px)": lambda p: cv2.GaussianBlur(p, (0, 0), 2.0),
    "1 bit, dithered": dithered,
}


def model(old: str = "", new: str = "") -> Rule:
    """Return the model, with one expression of its code replaced if `old` is given."""
    text = (RECIPE.path / "model_code.py").read_text(encoding="utf-8")
    assert not old or text.count(old) == 1, old
    code = ModuleType("variant")
    exec(text.replace(old, new) if old else text, code.__dict__)

    def rule(good: list[Picture]) -> Scorer:
        calibration = code.calibrate(good)

        def score(part: Picture) -> tuple[float, bool]:
            found = code.inspect(part, calibration)
            return found["defect_score"], found["verdict"] == "fail"

        return score

    return rule


class Tiles:
    """Pictures of a folder, and the protocol: 10 seeds, look-alikes on one side of the split."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*/*.jpg"))
        self.pictures = [model_code.read_grey(path.read_bytes()) for path in paths]
        self.defects = np.array([path.parent.name for path in paths])
        self.groups = np.array([path.name[:8] for path in paths])

    def test(self, rule: Rule, golden: int = 150, change: Change | None = None) -> pd.DataFrame:
        """Return a row per tested picture and seed: seed, defect, score, failed.

        Golden parts: at most `golden` from 60 % of the good groups. Test: all bad pictures and the
        good ones of the other groups, changed first if asked.
        """
        good = self.defects == "good"
        pictures = [change(p) if change else p for p in self.pictures]
        rows: list[tuple[int, str, float, bool]] = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            groups = rng.permutation(np.unique(self.groups[good]))
            ours = good & np.isin(self.groups, groups[: int(0.6 * len(groups))])
            chosen = rng.permutation(np.flatnonzero(ours))[:golden]
            score = rule([self.pictures[i] for i in chosen])
            rows += [(seed, self.defects[i], *score(pictures[i])) for i in np.flatnonzero(~ours)]
        return pd.DataFrame(rows, columns=["seed", "defect", "score", "failed"])


def means(tested: pd.DataFrame) -> dict[str, float]:
    """Return the mean over the seeds of AUROC, found and false alarms, and AUROC's deviation."""
    seeds = pd.DataFrame([summary(rows) for _, rows in tested.groupby("seed")])
    spread = {"AUROC": seeds["AUROC"].mean(), "+-": seeds["AUROC"].std(ddof=0)}
    return spread | {name: seeds[name].mean() for name in ("found", "false alarms")}


def of_tiles(tiles: Tiles) -> dict[str, Rows]:
    """Return the tables of real tiles."""
    whole = tiles.test(model())
    rules: Rows = [{"rule": "edge density, Canny 50/150", **means(tiles.test(edge_density))}]
    rules.append({"rule": "the model", **means(whole)})
    rules += [{"rule": f"the model, {s}", **means(tiles.test(model(*c)))} for s, c in STEPS.items()]
    golden = [{"good parts": n, **means(tiles.test(model(), n))} for n in (20, 60, 150)]
    good = whole["defect"] == "good"
    defects = [
        {
            "defect": defect,
            "pictures": int((tiles.defects == defect).sum()),
            "AUROC": means(whole[good | (whole["defect"] == defect)])["AUROC"],
            "found": rows["failed"].mean(),
        }
        for defect, rows in whole[~good].groupby("defect")
    ]
    changed = []
    for name, change in CHANGES.items():
        after = tiles.test(model(), change=change)
        flips = float((after["failed"] != whole["failed"]).mean())
        changed.append({"picture": name, "verdicts changed": flips, **means(after)})
        print(changed[-1], flush=True)
    return {
        f"Real tiles: {len(tiles.pictures)} photographs, 10 splits, 150 good parts": rules,
        "Real tiles, by the number of good parts": golden,
        "Real tiles, by defect": defects,
        "Real tiles, changed after the calibration": changed,
    }


def photograph(name: str) -> Parts:
    """Return one of scikit-image's photographs, cut like a chessboard, as parts with defects."""
    rng = np.random.default_rng(0)
    grey = model_code.read_grey((files("skimage") / "data" / f"{name}.png").read_bytes())
    texture = (grey - grey.mean()) / grey.std()
    cut = [texture[y : y + 85, x : x + 85] for y in range(0, 426, 85) for x in range(0, 426, 85)]
    sides = [[c for i, c in enumerate(cut) if (i + i // 6) % 2 == side] for side in (0, 1)]
    golden, good = ([shoot(rng, part.copy()) for part in side] for side in sides)
    flawed = [(d, shoot(rng, blemish(rng, part, d, 1.0))) for d in DEFECTS for part in sides[1]]
    return Parts([*golden, golden[0]], good, flawed)


def of_parts() -> Rows:
    """Return AUROC, found and false alarms on drawn parts and on photographs."""
    surfaces = {f"drawn, defects at {s:.0%}": make_parts(1, 100, 100, 40, s) for s in (1.0, 0.7)}
    surfaces |= {f"{name} (photograph)": photograph(name) for name in ("brick", "grass", "gravel")}
    rows = []
    for name, parts in surfaces.items():
        for rule in (edge_density, largest_edge):
            numbers = summary(evaluate(parts, rule))
            rows.append({"surface": name, "rule": rule.__name__.replace("_", " "), **numbers})
    return rows


PEAK = """
import sys, resource; sys.path.insert(0, sys.argv[1])
import cv2, model_code, numpy as np
cv2.setNumThreads(1)
side = int(sys.argv[2])
part = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
model_code.inspect(part, {"canny": 4000.0, "limit": 0.5, "smoothest": 0.01, "roughest": 0.06})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def costs() -> tuple[Rows, Rows]:
    """Return CPU time on one core for a picture of 110 kpx, and peak memory per megapixel."""
    rng = np.random.default_rng(0)
    parts = [cv2.resize(shoot(rng, ground(rng)), (332, 332)) for _ in range(32)]
    calibration = model_code.calibrate(parts)
    jpegs = [cv2.imencode(".jpg", part)[1].tobytes() for part in parts]
    ways: dict[str, Callable[[bytes], object]] = {
        "read a JPEG file of 110 kpx": model_code.read_grey,
        "read it, cv2.Canny": lambda jpeg: cv2.Canny(model_code.read_grey(jpeg), 50, 150),
        "read it, inspect": lambda jpeg: model_code.inspect(
            model_code.read_grey(jpeg), calibration
        ),
    }
    rows: Rows = []
    for name, way in ways.items():
        took = []
        for jpeg in jpegs * 10:
            start = time.process_time()
            way(jpeg)
            took.append(time.process_time() - start)
        seconds = float(np.median(took))
        rows.append({"what": name, "CPU ms": 1000 * seconds, "pictures a second": 1 / seconds})
    command = [sys.executable, "-c", PEAK, str(RECIPE.path)]
    peaks = [float(subprocess.check_output([*command, side])) for side in ("3000", "7000")]
    return rows, [{"inspect": "peak MB per megapixel", "value": (peaks[1] - peaks[0]) / 40}]


def main() -> None:
    cv2.setNumThreads(1)
    time_table, memory = costs()
    tables = {"Drawn parts and photographs": of_parts(), "One core": time_table, "Memory": memory}
    publish("canny_edge_qc", tables)
    if folder := os.environ.get("TILES"):
        publish("canny_edge_qc_tiles", of_tiles(Tiles(Path(folder))))


if __name__ == "__main__":
    main()
