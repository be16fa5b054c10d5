"""Edge inspection: each step's worth on several surfaces, robustness, images per second.

python -m benchmarks.canny_edge_qc
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
from skimage.feature import canny as skimage_canny

from benchmarks.report import Rows, interleave, publish
from shared.recipes import find

RECIPE = find("canny_edge_qc")
sys.path.insert(0, str(RECIPE.path))  # where model_code.py finds its package

from golden_edges.rules import calibrate  # noqa: E402
from golden_edges.surface import read_grey  # noqa: E402

from recipes.canny_edge_qc import model_code, parts  # noqa: E402
from recipes.canny_edge_qc.evaluation import steps  # noqa: E402
from recipes.canny_edge_qc.model_code import inspect  # noqa: E402

SURFACES = {  # surface, strength of the defects
    "ground": ("ground", 1.0),
    "ground, defects of 0.7 the contrast": ("ground", 0.7),
    "brick (photograph)": ("brick", 1.0),
    "gravel (photograph)": ("gravel", 1.0),
    "grass (photograph)": ("grass", 1.0),
}
SIDE = 332  # px; 110 kpx


def quality() -> tuple[Rows, Rows]:
    """Return AUROC per step and surface, and the whole rule's per defect with the two shares."""
    by_step: Rows = []
    whole: Rows = []
    for name, (surface, strength) in SURFACES.items():
        made = parts.make_parts(surface, 100, 40, strength)
        table, _ = steps(made, calibrate(made.golden))
        by_step.append(
            {
                "surface": name,
                **dict(zip(table.index.astype(str), table["AUROC"].round(3), strict=True)),
            }
        )
        sizes = {"golden": len(made.golden), "unseen good": len(made.good)}
        whole.append(
            {
                "surface": name,
                **sizes,
                **dict(zip(table.columns.astype(str), table.iloc[-1].round(3), strict=True)),
            }
        )
        print(by_step[-1], flush=True)
    return by_step, whole


def robustness() -> Rows:
    """Return how many verdicts change when the same picture comes in other light or turned."""
    made = parts.make_parts("ground", 100, 20)
    known = calibrate(made.golden)
    pictures = [read_grey(file) for file in [*made.good, *(file for _, file in made.bad)]]
    before = np.array([inspect(picture, known)["defect_score"] for picture in pictures])

    def shade(picture: np.ndarray) -> np.ndarray:
        slope = np.linspace(0.75, 1.0, picture.shape[1], dtype=np.float32)
        return np.rint(picture * slope).astype(np.uint8)

    rows = []
    for name, change in {
        "turned by 90 degrees": lambda p: np.ascontiguousarray(np.rot90(p)),
        "turned by 270 degrees": lambda p: np.ascontiguousarray(np.rot90(p, 3)),
        "20 % darker": lambda p: cv2.convertScaleAbs(p, alpha=0.8),
        "20 % brighter": lambda p: cv2.convertScaleAbs(p, alpha=1.2),
        "shadow to 75 % from one side": shade,
    }.items():
        after = np.array([inspect(change(p), known)["defect_score"] for p in pictures])
        flips = (before > 1) != (after > 1)
        worst = np.abs(before - 1)[flips].max(initial=0)
        rows.append(
            {
                "the same picture": name,
                "pictures": len(pictures),
                "verdicts that changed": int(flips.sum()),
                "of scores beyond 0.9 to 1.1": int((np.abs(before - 1)[flips] > 0.1).sum()),
                "median change of score": round(float(np.median(np.abs(after - before))), 3),
                "farthest from the limit": round(float(worst), 3),
            }
        )
    return rows


def speed() -> Rows:
    """Return images per second on one core, JPEG of 110 kpx, in batches of 32."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    files = []
    for _ in range(32):
        texture = parts.noise(rng, (SIDE, SIDE), 20, 1) + 0.4 * parts.noise(rng, (SIDE, SIDE), 1, 1)
        files.append(parts.shoot(rng, texture / texture.std(), 0.09))
    known = calibrate(files)
    with tempfile.TemporaryDirectory() as name:
        calibration = Path(name) / "calibration.json"
        calibration.write_text(json.dumps(known))
        mlflow.pyfunc.save_model(
            Path(name) / "model",
            python_model=RECIPE.path / "model_code.py",
            code_paths=[str(RECIPE.path / "golden_edges")],
            artifacts={"calibration": str(calibration)},
            signature=model_code.SIGNATURE,
            input_example=pd.DataFrame({"image": files[:1]}),
            pip_requirements=str(RECIPE.path / "requirements.txt"),
        )
        model = mlflow.pyfunc.load_model(f"{name}/model")
    frame = pd.DataFrame({"image": files})
    text = pd.DataFrame({"image": [base64.b64encode(file).decode() for file in files]})

    def bare() -> None:
        for file in files:
            grey = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
            cv2.Canny(np.asarray(grey), 50, 150)

    def rule(which: str) -> None:
        for file in files:
            inspect(read_grey(file), known, which)

    seconds = interleave(
        {
            "cv2.imdecode and cv2.Canny, nothing else": bare,
            "rule density, plain function": lambda: rule("density"),
            "rule density, loaded model": lambda: model.predict(frame, params={"rule": "density"}),
            "rule golden, plain function": lambda: rule("golden"),
            "rule golden, loaded model": lambda: model.predict(frame),
            "rule golden, loaded model, base64 text": lambda: model.predict(text),
            "rule golden with overlay, loaded model": lambda: model.predict(
                frame, params={"overlay": True}
            ),
            "cv2.imdecode and skimage.feature.canny": lambda: [
                skimage_canny(read_grey(file)) for file in files
            ],
        },
        rounds=9,
    )
    first = next(iter(seconds.values()))
    return [
        {"what": what, "images/s": round(len(files) / s), "rate in parts of bare": first / s}
        for what, s in seconds.items()
    ]


def main() -> None:
    by_step, whole = quality()
    publish(
        "canny_edge_qc",
        {
            "AUROC on unseen parts, step by step": by_step,
            "The whole rule: AUROC per defect, shares above the limit": whole,
            "The same part again": robustness(),
            f"Speed on one core, JPEG pictures of {SIDE} x {SIDE} px": speed(),
        },
    )


if __name__ == "__main__":
    main()
