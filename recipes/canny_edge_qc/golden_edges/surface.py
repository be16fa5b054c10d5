"""From a photograph to an evened surface: read it, find its grain, take grain and shading out."""

import base64
from typing import Any

import cv2
import numpy as np

# Sides of the averaging windows, in parts of sqrt(height * width).
ALONG, AROUND = 0.15, 0.4

# 1, x, y, x^2, y^2, xy at the centres of 16 x 16 cells, and what fits them to cell means.
Y, X = (axis.ravel() for axis in np.mgrid[-15:16:2, -15:16:2] / 16)
CELLS = np.stack([np.ones(256), X, Y, X * X, Y * Y, X * Y], axis=1)
FIT = np.linalg.pinv(CELLS)

SMALLEST = 32  # px


def read_grey(data: Any) -> np.ndarray:
    """Return an image file, given as bytes or base64 text, as uint8 (height, width).

    Raises ValueError for what cv2 would take silently or answer with None: colour (cv2.Canny
    accepts it), 16 bits, no bytes, junk, a file cut off, a picture too small for the windows.
    """
    data = data.encode() if isinstance(data, str) else data
    if not isinstance(data, bytes | bytearray) or not data:
        raise ValueError("no image; send the bytes of an image file, as base64 text over REST")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:  # base64 then? MLflow's server decodes it in dataframe_*, not in "inputs"
        try:
            file = base64.b64decode(b"".join(data.split()), validate=True)
        except ValueError:
            file = b""
        if file:
            image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{len(data)} bytes that are no whole image; send a PNG or JPEG file")
    return check_grey(image)


def check_grey(image: np.ndarray) -> np.ndarray:
    """Return the image, uint8 (height, width), or raise ValueError saying what it is instead."""
    if image.dtype != np.uint8:
        raise ValueError(f"pixels of {image.dtype}; scale them to 8 bits")
    if image.ndim == 3 and image.shape[2] == 3 and not np.ptp(image, axis=2).any():
        image = np.ascontiguousarray(image[:, :, 0])  # grey that was stored as three channels
    if image.ndim != 2:
        raise ValueError("a colour image; convert it to grey the way your good parts were")
    if min(image.shape) < SMALLEST:
        height, width = image.shape
        raise ValueError(f"{width} x {height} px; a side needs at least {SMALLEST}")
    return image


def grain(grey: np.ndarray) -> complex:
    """Return the surface's direction as c * exp(2i * angle); c from 0 (none) to 1 (all parallel).

    This is the structure tensor's main axis (Bigün and Granlund 1987), with gradients counted by
    their length, not its square, so that one strong edge cannot outvote the texture.
    """
    dx, dy = cv2.spatialGradient(cv2.GaussianBlur(grey, (0, 0), 1.0))
    dx, dy = dx[::2, ::2].astype(np.float32), dy[::2, ::2].astype(np.float32)
    length = cv2.magnitude(dx, dy) + 1e-6
    real, imaginary = (dy * dy - dx * dx) / length, -2 * dx * dy / length  # across the gradients
    return complex(real.sum(), imaginary.sum()) / float(length.sum())


def upright(grey: np.ndarray, angle: float) -> tuple[np.ndarray, int]:
    """Return the picture turned by 0 to 3 quarters, as np.rot90 does, and how many.

    Its grain comes nearest to `angle`, and its rougher half on top. So a part that lies a quarter
    or half a turn away gives the very same picture, and the same verdict.
    """
    quarters = int((grain(grey) * np.exp(-2j * np.radians(angle))).real < 0)
    lit = np.rot90(even_light(grey)[0], quarters)
    half = len(lit) // 2
    if lit[-half:].std() > lit[:half].std():
        quarters += 2
    return np.ascontiguousarray(np.rot90(grey, quarters)), quarters


def mean_along(image: np.ndarray, angle: float, length: int) -> np.ndarray:
    """Return each pixel's mean over `length` x 3 px along `angle` (degrees, y points down)."""
    size = image.shape[::-1]
    turn = np.array(cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), angle, 1.0))
    canvas = np.ceil(np.abs(turn[:, :2]) @ size - 1e-6).astype(int)
    turn[:, 2] += (canvas - np.array(size)) / 2
    level = cv2.warpAffine(image, turn, canvas.tolist(), borderMode=cv2.BORDER_REFLECT)
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mean = cv2.blur(level, (length, 3))
    return cv2.warpAffine(mean, turn, size, flags=back, borderMode=cv2.BORDER_REFLECT)


def even_light(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the picture over its shading, float32 around 1, and how uneven its light still is.

    Shading is a quadratic in x and y, fitted to the means of 16 x 16 cells: light from one side or
    from the middle. What it leaves unexplained is the largest deviation of a cell, 0.1 for 10 %.
    """
    image, (height, width) = grey.astype(np.float32), grey.shape
    cells = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).ravel()
    weights = (FIT @ cells).astype(np.float32)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    one, in_x, in_y, in_xx, in_yy, in_xy = weights
    rows = (one + in_y * y + in_yy * y * y)[:, None]
    shading = rows + (in_x * x + in_xx * x * x) + np.outer(in_xy * y, x)
    rest = np.abs(cells / np.maximum(CELLS @ weights, 1) - 1).max()
    return image / np.maximum(shading, 1), float(rest)


def flatten(image: np.ndarray, angle: float | None) -> np.ndarray:
    """Return an image less its mean along the grain, or around each pixel if there is none."""
    side = window(image, ALONG)
    mean = cv2.blur(image, (side, side)) if angle is None else mean_along(image, angle, side)
    return image - mean


def normalise(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat picture in local standard deviations, and those in parts of their median.

    The median is added to them (squared), so that a patch without texture is not blown up.
    """
    side = (window(flat, AROUND),) * 2
    variance = cv2.blur(flat * flat, side) - cv2.blur(flat, side) ** 2
    spread = np.sqrt(np.maximum(variance, 0))
    usual = max(float(np.median(spread[::4, ::4])), 1e-4)
    return flat / np.sqrt(spread**2 + usual**2), spread / usual


def window(image: np.ndarray, part: float) -> int:
    """Return an averaging window's side, odd, in px."""
    return int(part * np.sqrt(image.size)) // 2 * 2 + 1
