"""Parts to inspect, good and bad: cut from real photographs, or a ground surface drawn from noise.

The photographs are those in the wheel of scikit-image (brick, gravel, grass); nothing is
downloaded. All is drawn with a fixed seed. A photograph is cut like a chessboard: white blocks to
calibrate with, black ones for the test, so that no region is on both sides.
"""

from importlib.resources import files
from typing import NamedTuple

import cv2
import numpy as np

DEFECTS = ("crack", "pinhole", "chip", "uneven")
PHOTOGRAPHS = ("brick", "gravel", "grass")
Random = np.random.Generator


class Parts(NamedTuple):
    """JPEG files: good parts to calibrate with, unseen good ones, and (defect, file) pairs."""

    golden: list[bytes]
    good: list[bytes]
    bad: list[tuple[str, bytes]]


def noise(rng: Random, shape: tuple[int, int], along: float, across: float) -> np.ndarray:
    """Return smoothed white noise with mean 0 and deviation 1; its grain runs along the rows."""
    white = rng.standard_normal((shape[0] + 40, shape[1] + 40), dtype=np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), across)
    if along > across:  # two box means: nearly a Gaussian, at a fraction of its time
        length = int(2.45 * along) // 2 * 2 + 1
        smooth = cv2.blur(cv2.blur(smooth, (length, 1)), (length, 1))
    smooth = smooth[20:-20, 20:-20]
    return (smooth - smooth.mean()) / smooth.std()


def ground(rng: Random) -> np.ndarray:
    """Return a ground surface's texture: grain of varying length, bands, grooves and specks."""
    shape = int(rng.integers(200, 280)), int(rng.integers(240, 360))
    length, fine = rng.uniform(10, 30), rng.uniform(0.7, 1.2)
    texture = noise(rng, shape, length, fine)
    texture += rng.uniform(0.3, 0.9) * noise(rng, shape, 3 * length, 4 * fine)
    texture += rng.uniform(0.2, 0.6) * noise(rng, shape, 1.0, 1.0)
    for _ in range(rng.poisson(2)):  # grooves
        line = np.zeros(shape, np.float32)
        y, x = int(rng.integers(shape[0])), int(rng.uniform(-0.3, 0.7) * shape[1])
        cv2.line(line, (x, y), (x + int(rng.uniform(0.3, 1.2) * shape[1]), y), 1.0)
        texture += rng.choice([-1, 1]) * rng.uniform(1, 4) * cv2.GaussianBlur(line, (0, 0), 0.8)
    for _ in range(rng.poisson(4)):  # specks
        texture[rng.integers(shape[0]), rng.integers(shape[1])] += rng.choice([-1, 1])
    if rng.random() < 0.2:  # the part ends within the picture
        texture[:, : rng.integers(2, 8)] -= 3
    return texture / texture.std()


def photograph(name: str) -> np.ndarray:
    """Return one of scikit-image's photographs as texture, mean 0 and local deviation about 1."""
    file = files("skimage") / "data" / f"{name}.png"
    decoded = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    grey = np.asarray(decoded, np.float32)
    grey -= grey.mean()
    return grey / np.sqrt(np.mean((grey - cv2.GaussianBlur(grey, (0, 0), 20)) ** 2))


def blocks(texture: np.ndarray, side: int = 85) -> list[np.ndarray]:
    """Return the picture cut into squares that don't overlap, row by row."""
    return [
        texture[y : y + side, x : x + side]
        for y in range(0, texture.shape[0] - side + 1, side)
        for x in range(0, texture.shape[1] - side + 1, side)
    ]


def blemish(rng: Random, texture: np.ndarray, defect: str, strength: float) -> np.ndarray:
    """Return the texture with a defect; `strength` 1 is 2 to 5 deviations, at a few pixels."""
    height, width = texture.shape
    side, mask = np.sqrt(texture.size), np.zeros_like(texture)
    middle = rng.uniform(0.2, 0.8, 2) * (width, height)
    if defect == "crack":  # hairline: a wandering line, 1 or 2 px
        bends = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 12))
        steps = rng.uniform(0.015, 0.04) * side * np.c_[np.cos(bends), np.sin(bends)]
        line = (16 * (middle + np.cumsum(steps, axis=0))).astype(np.int32)
        cv2.polylines(mask, [line], False, 1.0, int(rng.integers(1, 3)), cv2.LINE_8, 4)
        return texture - strength * rng.uniform(2.5, 5) * cv2.GaussianBlur(mask, (0, 0), 0.6)
    if defect == "pinhole":
        radius, centre = rng.uniform(2, 6), middle.astype(int).tolist()
        axes = int(radius * rng.uniform(1, 1.6)), int(radius)
        turn = rng.uniform(0, 180)
        cv2.ellipse(mask, centre, axes, turn, 0.0, 360.0, 1.0, -1)
        return texture - strength * rng.uniform(2, 5) * cv2.GaussianBlur(mask, (0, 0), 0.8)
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = side * np.c_[np.cos(around), np.sin(around)] * rng.uniform(0.6, 1.2, (16, 1))
    rough = noise(rng, (height, width), 2.5, 2.5)
    if defect == "chip":  # broken out of one of the four sides
        axis = int(rng.integers(2))
        middle[axis] = rng.choice([0, (width, height)[axis]])
        cv2.fillPoly(mask, [(middle + rng.uniform(0.03, 0.1, 2) * ring).astype(np.int32)], 1.0)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.0)
        shade = strength * rng.choice([-1, -1, 1]) * rng.uniform(1.5, 4)
        return texture * (1 - mask) + mask * (1.2 * rough + shade)
    cv2.fillPoly(
        mask, [(middle + rng.uniform(0.12, 0.3, 2) * ring).astype(np.int32)], 1.0
    )  # uneven
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1.5, 5))
    if rng.random() < 0.5:
        return texture + mask * strength * rng.choice([-1, 1]) * rng.uniform(0.8, 2)
    return texture * (1 - mask) + mask * (rough + strength * rng.uniform(-1, 1))


def shoot(rng: Random, texture: np.ndarray, contrast: float) -> bytes:
    """Return the camera's picture of it as a JPEG file: exposure, light from a side, noise."""
    height, width = texture.shape
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    across = slope * np.cos(turn) * np.linspace(-0.5, 0.5, width, dtype=np.float32)
    down = slope * np.sin(turn) * np.linspace(-0.5, 0.5, height, dtype=np.float32)
    light = 120 * rng.uniform(0.7, 1.3) * (1 + across + down[:, None])
    picture = light * (1 + contrast * rng.uniform(0.7, 1.4) * texture)
    picture += 2 * rng.standard_normal(texture.shape, dtype=np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    return cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8), quality)[1].tobytes()


def make_parts(surface: str, parts: int = 60, bad: int = 15, strength: float = 1.0) -> Parts:
    """Return parts of the surface "ground", or of a photograph (which has its own number).

    `parts` good ones to calibrate with and as many to test, `bad` ones of each defect.
    """
    rng = np.random.default_rng(sum(map(ord, surface)))
    if surface == "ground":
        golden, good = ([ground(rng) for _ in range(parts)] for _ in range(2))
        flawless = [ground(rng) for _ in DEFECTS for _ in range(bad)]
        contrast = 0.09
    else:  # a chessboard: each block is on one side only
        cut = blocks(photograph(surface))
        even = [(i + i // 6) % 2 == 0 for i in range(len(cut))]
        golden = [block for block, first in zip(cut, even, strict=True) if first]
        good = [block for block, first in zip(cut, even, strict=True) if not first]
        flawless = [block for _ in DEFECTS for block in good]
        contrast = 0.12
    each = len(flawless) // len(DEFECTS)
    return Parts(
        [shoot(rng, texture, contrast) for texture in golden],
        [shoot(rng, texture, contrast) for texture in good],
        [
            (defect, shoot(rng, blemish(rng, texture, defect, strength), contrast))
            for defect, texture in zip(np.repeat(DEFECTS, each).tolist(), flawless, strict=True)
        ],
    )
