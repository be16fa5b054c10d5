"""Pass or fail photographs of a ground surface by their largest edge.

The driver calls `calibrate` on good parts, and logs this file by its path with the
calibration as an artifact. MLflow stores the file's text and runs it at each load. The
last line names the model.
"""

import base64
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

DARK = 20  # grey levels added to each pixel, so that dark noise is not magnified
# A picture's side is the square root of its area, in pixels.
WINDOW = 0.2  # length of the local means, as a share of the picture's side
RIM = 0.04  # width of the border that is ignored, as a share of the picture's side
QUIET = 0.99  # share of a good part's gradients that are below Canny's threshold
CONFIDENCE = 0.95  # share of further good parts whose edge is within the limit
SMOOTHEST = 0.6  # least roughness to pass, as a multiple of the smoothest good part's
ROUGHEST = 1.3  # most roughness to pass, as a multiple of the roughest good part's
COLUMNS = ["verdict", "defect_score", "x", "y", "width", "height", "reason"]

Box = tuple[int, int, int, int]  # x, y, width, height in pixels


# An inspection, and the functions that it calls, in their order.


def inspect(grey: np.ndarray, calibration: dict[str, float]) -> dict[str, Any]:
    """Return one value for each of COLUMNS; the picture is uint8 (height, width)."""
    dx, dy = surface_gradients(grey)
    strength, box = largest_edge(dx, dy, calibration["threshold"])
    roughness = surface_roughness(grey)
    verdict, score, reason = compare_with_limit(strength, roughness, calibration)
    values = [verdict, score, *box, reason]
    return dict(zip(COLUMNS, values, strict=True))


def surface_gradients(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dx and dy of the surface without light and grain, at half the size."""
    check_picture(grey)
    levels = even_out_light(halve(grey))
    return gradients(subtract_grain(levels))


def halve(grey: np.ndarray) -> np.ndarray:
    """Return the picture at half its size, which averages the camera's noise."""
    height, width = grey.shape
    size = (width // 2, height // 2)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def even_out_light(grey: np.ndarray) -> np.ndarray:
    """Return the logarithm of the grey levels.

    A shadow multiplies grey levels. In the logarithm it is only a slow change, which
    `subtract_grain` removes with the local mean.
    """
    return np.log(grey + np.float32(DARK))


def subtract_grain(levels: np.ndarray) -> np.ndarray:
    """Subtract the local mean along the grain.

    Grooves go, and so does a straight crack along them. Other cracks and holes stay.
    """
    difference_down, difference_across = neighbour_differences(levels)
    # Neighbours differ least along the grain.
    grain_is_horizontal = difference_across < difference_down
    if grain_is_horizontal:
        return subtract_vertical_grain(levels.T).T
    return subtract_vertical_grain(levels)


def gradients(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dx and dy, int16, of the surface divided by its standard deviation.

    The kernel of 7 x 7 pixels smooths. Its weights are large, so that rounding to int16
    costs little.
    """
    surface = surface / max(surface.std(), 1e-3)  # not by 0 if the part is blank
    dx = cv2.Sobel(surface, cv2.CV_16S, 1, 0, ksize=7)
    dy = cv2.Sobel(surface, cv2.CV_16S, 0, 1, ksize=7)
    return dx, dy


def largest_edge(dx: np.ndarray, dy: np.ndarray, threshold: float) -> tuple[float, Box]:
    """Return the strength of the largest connected edge, and its box in the photograph.

    The strength is sqrt(sum(magnitude**2) / side). `magnitude` is a pixel's gradient
    divided by the threshold, and the sum runs over the edge's pixels. Without an edge
    the strength is 0, and so is the box.
    """
    # Canny takes two thresholds; a lower second one found nothing more.
    edges = cv2.Canny(dx, dy, threshold, threshold, L2gradient=True)
    side = math.sqrt(edges.size)
    rim = max(2, round(RIM * side))
    edges[:rim] = edges[-rim:] = 0
    edges[:, :rim] = edges[:, -rim:] = 0
    on_edge = edges > 0
    if not on_edge.any():
        return 0.0, (0, 0, 0, 0)
    labels = cv2.connectedComponents(edges)[1]
    magnitude = np.hypot(dx[on_edge], dy[on_edge]) / threshold
    energy = np.bincount(labels[on_edge], weights=magnitude**2)
    largest = labels == energy.argmax()
    x, y, width, height = cv2.boundingRect(largest.astype(np.uint8))
    box = (2 * x, 2 * y, 2 * width, 2 * height)  # the gradients are of half the size
    return math.sqrt(energy.max() / side), box


def compare_with_limit(
    strength: float, roughness: float, calibration: dict[str, float]
) -> tuple[str, float, str]:
    """Return the verdict, the score (strength divided by the limit) and the reason.

    The roughness is judged first: on another kind of surface the limit says nothing.
    """
    score = strength / calibration["limit"]
    if roughness < calibration["smoothest"]:
        return "fail", score, "too smooth"
    if roughness > calibration["roughest"]:
        return "fail", score, "too rough"
    verdict = "fail" if score > 1 else "pass"
    return verdict, score, "largest edge"


# What the steps need besides.


def neighbour_differences(image: np.ndarray) -> tuple[float, float]:
    """Return the mean difference between neighbours, down columns and along rows."""
    down = cv2.norm(image[1:], image[:-1], cv2.NORM_L1)
    across = cv2.norm(image[:, 1:], image[:, :-1], cv2.NORM_L1)
    return down / image.size, across / image.size


def subtract_vertical_grain(levels: np.ndarray) -> np.ndarray:
    """Subtract the mean of a window of rows around each pixel."""
    window = 2 * int(WINDOW * math.sqrt(levels.size) / 2) + 1  # odd: it has a middle
    surface = levels - cv2.blur(levels, (1, window))
    return subtract_ends(surface, window)


def subtract_ends(surface: np.ndarray, window: int) -> np.ndarray:
    """Subtract the mean of a window of columns, in the first and the last rows only.

    A part may end in these rows. Its border runs across the grain, as a crack does, but
    is no defect.
    """
    flat = surface - cv2.blur(surface, (window, 1))
    flat[window:-window] = surface[window:-window]  # the rows between stay as they were
    return flat


def surface_roughness(grey: np.ndarray) -> float:
    """Return how much neighbours along the grain differ, relative to brightness."""
    return min(neighbour_differences(grey)) / (grey.mean() + DARK)


def calibrate(pictures: list[np.ndarray]) -> dict[str, float]:
    """Return what the model has to know about a surface, from pictures of good parts.

    The limit is a conformal quantile: the edge of a further good part of the same kind
    exceeds it with a probability of about 5 %.
    """
    check_number(pictures)
    surfaces = [surface_gradients(grey) for grey in pictures]
    steepest = [np.quantile(np.hypot(dx, dy), QUIET) for dx, dy in surfaces]
    threshold = max(float(np.median(steepest)), 1.0)  # not 0 if all parts are blank
    strengths = sorted(largest_edge(dx, dy, threshold)[0] for dx, dy in surfaces)
    n = len(strengths)
    # The rank among n parts and the one to come: at most n, from 19 parts on.
    rank = math.ceil(CONFIDENCE * (n + 1))
    roughness = [surface_roughness(grey) for grey in pictures]
    return {
        "threshold": threshold,
        "limit": max(strengths[rank - 1], 0.1),  # not 0 if no part has an edge
        "smoothest": SMOOTHEST * min(roughness),
        "roughest": ROUGHEST * max(roughness),
    }


class EdgeInspection(mlflow.pyfunc.PythonModel):
    """Take the column `image`, bytes or base64 text of a file; answer with COLUMNS."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Read the calibration that was logged with the model."""
        path = Path(context.artifacts["calibration"])
        self.calibration = json.loads(path.read_text(encoding="utf-8"))
        check_calibration(self.calibration)

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the answers under the input's index; an error names the bad row."""
        answers = []
        for row, file in model_input["image"].items():
            try:
                answers.append(inspect(read_grey(file), self.calibration))
            except ValueError as error:
                message = f"column 'image', row {row!r:.80}: {error}"
                raise mlflow.MlflowException.invalid_parameter_value(message) from None
        return pd.DataFrame(answers, index=model_input.index, columns=COLUMNS)


# The checks: what is read, and what is refused with a sentence that says what to do.

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
LEAST_SIDE = 32  # pixels
SLIMMEST = 8  # the longer side divided by the shorter one
MOST_PIXELS = 50_000_000
LEAST_PARTS = 19  # with fewer, no limit can promise 5 % false alarms


def read_grey(file: Any) -> np.ndarray:
    """Return an image file as grey levels, uint8 (height, width), turned upright."""
    content = file_bytes(file)
    with decoder_errors(content):
        image = Image.open(BytesIO(content), formats=FORMATS)  # reads the header only
        pages = getattr(image, "n_frames", 1)
    check_header(image, pages)  # outside, or its messages would be replaced
    with decoder_errors(content):
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("L"))  # L is luminance


@contextmanager
def decoder_errors(content: bytes) -> Iterator[None]:
    """Turn what a decoder raises, errors of all kinds, into one ValueError."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"{len(content)} bytes are not a complete image file ({kind}); "
            f"send {', '.join(FORMATS)}"
        ) from None


def file_bytes(file: Any) -> bytes:
    """Return the bytes of a file that came as bytes, base64 text or a data: URL."""
    content = decode_base64(file) if isinstance(file, str) else file
    if not isinstance(content, bytes | bytearray) or not content:
        raise ValueError("not an image file; send one, as bytes or as base64 text")
    return bytes(content)


def decode_base64(text: str) -> bytes:
    """Return the bytes that the text stands for; none if it is not base64."""
    text = text.rpartition("base64,")[2]  # a data: URL begins with its media type
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return b""


def check_header(image: Image.Image, pages: int) -> None:
    """Refuse a file before its pixels are decoded."""
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise ValueError(f"{pixels} pixels; send a picture of at most {MOST_PIXELS}")
    if pages > 1:
        raise ValueError(f"{pages} pages; send one picture a file")
    if image.mode not in ("L", "RGB") or "transparency" in image.info:
        raise ValueError(
            f"mode {image.mode}; send 8-bit grey or RGB, without transparency"
        )


def check_picture(grey: np.ndarray) -> None:
    """Refuse what is no grey picture, too small, or too slim."""
    if grey.dtype != np.uint8 or grey.ndim != 2:
        raise ValueError(f"{grey.dtype} {grey.shape}; give uint8 (height, width)")
    if min(grey.shape) < LEAST_SIDE or max(grey.shape) > SLIMMEST * min(grey.shape):
        height, width = grey.shape
        raise ValueError(
            f"{width} x {height} px; send at least {LEAST_SIDE} px each way, "
            f"and no side longer than {SLIMMEST} times the other"
        )


def check_number(pictures: list[np.ndarray]) -> None:
    """Refuse to calibrate on too few good parts."""
    if len(pictures) < LEAST_PARTS:
        raise ValueError(
            f"{len(pictures)} good parts; give at least {LEAST_PARTS}, better 60"
        )


def check_calibration(calibration: dict[str, Any]) -> None:
    """Refuse a calibration that lacks a number: with NaN every part would pass."""
    for name in ("threshold", "limit", "smoothest", "roughest"):
        value = calibration.get(name)
        if not isinstance(value, float) or not 0 < value < math.inf:
            raise ValueError(
                f"calibration: {name} is {value!r:.80}; "
                "make the file with calibrate() and log the model again"
            )


mlflow.models.set_model(EdgeInspection())
