"""Pass or fail grey photographs of a surface by their largest edge, compared with good parts."""

import base64
import json
from contextlib import suppress
from io import BytesIO
from math import ceil, inf
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from PIL import Image

GRAIN, ENDS, RIM = 0.2, 0.15, 0.04  # windows, in parts of the picture's side
SMOOTH, ROUGH = (
    0.6,
    1.3,
)  # times the smoothest and the roughest good part: another picture
FEWEST = 19  # good parts; with fewer, no limit can promise 5 % false alarms
SMALLEST, MOST_PIXELS = 32, 50_000_000  # of a side, of a picture
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
COLUMNS = ["verdict", "defect_score", "x", "y", "width", "height", "reason"]


def read_grey(data: Any) -> np.ndarray:
    """Return an image file (bytes, or base64 text) as uint8 (height, width); ValueError if bad."""
    data = data.encode("ascii", "replace") if isinstance(data, str) else data
    if not isinstance(data, bytes) or not data:
        raise ValueError(
            "no image; send the bytes of an image file, as base64 text over REST"
        )
    with suppress(ValueError):  # what is no base64 is the file itself
        data = base64.b64decode(b"".join(data.split()), validate=True)
    try:
        with Image.open(
            BytesIO(data), formats=FORMATS
        ) as file:  # reads the header only
            pixels, pages = file.width * file.height, getattr(file, "n_frames", 1)
            mode = "transparent" if "transparency" in file.info else file.mode
            good = pixels <= MOST_PIXELS and pages == 1 and mode in ("L", "RGB")
            image = np.asarray(file if good else [])
    except Exception as error:  # broken bytes make decoders raise all kinds of errors
        why = f"no whole {', '.join(FORMATS)} file ({type(error).__name__})"
        raise ValueError(f"{len(data)} bytes, {why}") from None
    if not good or (image.ndim == 3 and np.ptp(image, axis=2).any()):
        want = f"one page of 8-bit grey (L), at most {MOST_PIXELS} px"
        raise ValueError(f"{pages} page(s) of {pixels} px, mode {mode}; send {want}")
    return (
        image if image.ndim == 2 else image[:, :, 0]
    )  # grey, stored as three equal channels


def gradients(grey: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Return dx and dy of the evened surface, its texture, and whether it was turned.

    They are int16 (2, h, w), at half the picture's size, its grain upright (np.rot90 if it lay).
    The texture is the mean relative change between neighbours along the grain. Raises ValueError
    for anything but uint8 (height, width), or a picture too small or too slim.
    """
    small, large = min(grey.shape, default=0), max(grey.shape, default=0)
    if (
        grey.dtype != np.uint8
        or grey.ndim != 2
        or small < SMALLEST
        or large > 8 * small
    ):
        raise ValueError(
            f"{grey.dtype} {grey.shape}: give uint8, {SMALLEST} px or more, up to 8:1"
        )
    light: np.ndarray = cv2.LUT(grey, np.log(np.arange(20, 276, dtype=np.float32)))
    down = cv2.norm(light[1:], light[:-1], cv2.NORM_L1) / light.size
    across = cv2.norm(light[:, 1:], light[:, :-1], cv2.NORM_L1) / light.size
    if turned := down > across:
        light = np.ascontiguousarray(np.rot90(light))
    side = np.sqrt(light.size)
    window, ends = int(GRAIN * side) | 1, int(ENDS * side)
    light -= cv2.blur(light, (1, window))  # less the mean along the grain
    for end in (
        light[:ends],
        light[-ends:],
    ):  # the part's own border runs across the grain here
        end -= cv2.blur(end, (window, 1))
    width, height = light.shape[1] // 2, light.shape[0] // 2
    half: np.ndarray = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
    half /= max(float(half.std()), 1e-3)
    half = cv2.GaussianBlur(half, (0, 0), 1.1)
    slopes = [
        cv2.Sobel(half, cv2.CV_16S, *axis, scale=512) for axis in ((1, 0), (0, 1))
    ]
    return np.array(slopes), min(down, across), turned


def largest_edge(slopes: np.ndarray, canny: float) -> tuple[float, np.ndarray]:
    """Return the root energy of the largest connected edge inside, and its mask, bool (h, w)."""
    edges = cv2.Canny(slopes[0], slopes[1], canny, canny)
    side = np.sqrt(edges.size)
    rim = max(2, round(RIM * side))
    inside = np.zeros_like(edges)
    inside[rim:-rim, rim:-rim] = edges[rim:-rim, rim:-rim]
    at, labels = inside > 0, cv2.connectedComponents(inside, connectivity=8)[1]
    strength = (
        np.linalg.norm([slope[at] for slope in slopes], 1, axis=0) / canny
    )  # as in Canny
    energy = np.bincount(labels[at], strength**2, 1)  # of each edge
    return float(np.sqrt(energy.max() / side)), at & (labels == energy.argmax())


def calibrate(images: list[np.ndarray]) -> dict[str, float]:
    """Return what the model has to know, from pictures of good parts alone, uint8 (h, w) each.

    Canny's threshold is where 1 % of their gradients are. The limit is a conformal quantile: a
    further good part of the same kind exceeds it with a probability of at most 5 %.
    """
    if len(images) < FEWEST:
        raise ValueError(f"{len(images)} good parts; give at least {FEWEST}, better 60")
    parts, textures, _ = zip(*map(gradients, images), strict=True)
    sharp = [np.quantile(np.linalg.norm(slopes, 1, axis=0), 0.99) for slopes in parts]
    canny = max(float(np.median(sharp)), 1.0)
    sizes = sorted(largest_edge(slopes, canny)[0] for slopes in parts)
    return {
        "canny": canny,
        "limit": max(sizes[ceil(0.95 * (len(sizes) + 1)) - 1], 0.1),
        "smoothest": SMOOTH * min(textures),
        "roughest": ROUGH * max(textures),
    }


def inspect(grey: np.ndarray, calibration: dict[str, float]) -> dict[str, Any]:
    """Return COLUMNS for one part, uint8 (height, width); the box (px) is all 0 without an edge."""
    slopes, texture, turned = gradients(grey)
    size, mask = largest_edge(slopes, calibration["canny"])
    mask = np.rot90(mask, -turned).astype(np.uint8)
    box = cv2.boundingRect(
        cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    )
    score, reason = size / calibration["limit"], "largest edge"
    if (
        not calibration["smoothest"] <= texture <= calibration["roughest"]
    ):  # not such a part
        reason = "too smooth" if texture < calibration["smoothest"] else "too rough"
    verdict = "fail" if score > 1 or reason != "largest edge" else "pass"
    return dict(zip(COLUMNS, (verdict, score, *box, reason), strict=True))


class EdgeInspection(mlflow.pyfunc.PythonModel):
    """Take one column, `image` (files as bytes or base64 text); answer COLUMNS, a row per image."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Read the calibration that was logged with the model; ValueError if it isn't whole."""
        self.calibration = json.loads(
            Path(context.artifacts["calibration"]).read_text("utf-8")
        )
        numbers = [
            self.calibration.get(n) for n in ("canny", "limit", "smoothest", "roughest")
        ]
        if not all(
            isinstance(n, float) and 0 < n < inf for n in numbers
        ):  # NaN would pass all
            raise ValueError(
                f"calibration {str(self.calibration)[:80]}: make it with calibrate()"
            )

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return COLUMNS under the input's index; MlflowException (HTTP 400) names a bad row."""
        if not isinstance(model_input, pd.DataFrame) or list(model_input) != ["image"]:
            raise mlflow.MlflowException.invalid_parameter_value(
                "give one column, 'image'"
            )
        rows = []
        for row, data in model_input["image"].items():
            try:
                rows.append(inspect(read_grey(data), self.calibration))
            except (ValueError, cv2.error) as error:
                text = f"column 'image', row {row!r:.80}: {error}"
                raise mlflow.MlflowException.invalid_parameter_value(text) from None
        return pd.DataFrame(rows, model_input.index, COLUMNS)


mlflow.models.set_model(EdgeInspection())
