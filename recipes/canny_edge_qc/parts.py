"""Draw good and bad parts: a ground surface made of noise, with a fixed seed."""

from typing import NamedTuple

import cv2
import numpy as np

DEFECTS = ("crack", "pinhole", "chip", "uneven")
Random = np.random.Generator


class Parts(NamedTuple):
    """Good parts to calibrate with, further good ones, and (defect, part) pairs."""

    golden: list[np.ndarray]
    good: list[np.ndarray]
    bad: list[tuple[str, np.ndarray]]


def noise(
    rng: Random, shape: tuple[int, int], along: float, across: float
) -> np.ndarray:
    """Return smoothed noise, mean 0, deviation 1; its grain runs along the rows."""
    white = rng.standard_normal((shape[0] + 40, shape[1] + 40), dtype=np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), across)
    if along > across:  # two box means: nearly a Gaussian, at a fraction of its time
        length = int(2.45 * along) // 2 * 2 + 1
        smooth = cv2.blur(cv2.blur(smooth, (length, 1)), (length, 1))
    smooth = smooth[20:-20, 20:-20]
    return (smooth - smooth.mean()) / smooth.std()


def ground(rng: Random) -> np.ndarray:
    """Return the texture of a ground surface: grain, bands, grooves and specks."""
    shape = int(rng.integers(200, 280)), int(rng.integers(240, 360))
    length, fine = rng.uniform(10, 30), rng.uniform(0.7, 1.2)
    texture = noise(rng, shape, length, fine)
    texture += rng.uniform(0.3, 0.9) * noise(rng, shape, 3 * length, 4 * fine)
    texture += rng.uniform(0.2, 0.6) * noise(rng, shape, 1.0, 1.0)
    for _ in range(rng.poisson(2)):  # grooves
        line = np.zeros(shape, np.float32)
        y, x = int(rng.integers(shape[0])), int(rng.uniform(-0.3, 0.7) * shape[1])
        cv2.line(line, (x, y), (x + int(rng.uniform(0.3, 1.2) * shape[1]), y), 1.0)
        texture += (
            rng.choice([-1, 1])
            * rng.uniform(1, 4)
            * cv2.GaussianBlur(line, (0, 0), 0.8)
        )
    for _ in range(rng.poisson(4)):  # specks
        texture[rng.integers(shape[0]), rng.integers(shape[1])] += rng.choice([-1, 1])
    if rng.random() < 0.2:  # the part ends within the picture
        texture[:, : rng.integers(2, 8)] -= 3
    return texture / texture.std()


def blemish(
    rng: Random, texture: np.ndarray, defect: str, strength: float
) -> np.ndarray:
    """Return the texture with a defect, at strength 1 of 2 to 5 deviations."""
    height, width = texture.shape
    side, mask = np.sqrt(texture.size), np.zeros_like(texture)
    middle = rng.uniform(0.2, 0.8, 2) * (width, height)
    if defect == "crack":  # hairline: a wandering line, 1 or 2 px
        bends = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 12))
        steps = rng.uniform(0.015, 0.04) * side * np.c_[np.cos(bends), np.sin(bends)]
        line = (16 * (middle + np.cumsum(steps, axis=0))).astype(np.int32)
        cv2.polylines(mask, [line], False, 1.0, int(rng.integers(1, 3)), cv2.LINE_8, 4)
        return texture - strength * rng.uniform(2.5, 5) * cv2.GaussianBlur(
            mask, (0, 0), 0.6
        )
    if defect == "pinhole":
        radius, centre = rng.uniform(2, 6), middle.astype(int).tolist()
        axes = int(radius * rng.uniform(1, 1.6)), int(radius)
        turn = rng.uniform(0, 180)
        cv2.ellipse(mask, centre, axes, turn, 0.0, 360.0, 1.0, -1)
        return texture - strength * rng.uniform(2, 5) * cv2.GaussianBlur(
            mask, (0, 0), 0.8
        )
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = side * np.c_[np.cos(around), np.sin(around)] * rng.uniform(0.6, 1.2, (16, 1))
    rough = noise(rng, (height, width), 2.5, 2.5)
    if defect == "chip":  # broken out of one of the four sides
        axis = int(rng.integers(2))
        middle[axis] = rng.choice([0, (width, height)[axis]])
        cv2.fillPoly(
            mask, [(middle + rng.uniform(0.03, 0.1, 2) * ring).astype(np.int32)], 1.0
        )
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


def shoot(rng: Random, texture: np.ndarray, contrast: float = 0.09) -> np.ndarray:
    """Return the camera's picture of it, uint8: exposure, light from a side, noise."""
    height, width = texture.shape
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    across = slope * np.cos(turn) * np.linspace(-0.5, 0.5, width, dtype=np.float32)
    down = slope * np.sin(turn) * np.linspace(-0.5, 0.5, height, dtype=np.float32)
    light = 120 * rng.uniform(0.7, 1.3) * (1 + across + down[:, None])
    picture = light * (1 + contrast * rng.uniform(0.7, 1.4) * texture)
    picture += 2 * rng.standard_normal(texture.shape, dtype=np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_parts(
    seed: int, golden: int, good: int, bad: int, strength: float = 1.0
) -> Parts:
    """Return drawn parts, `bad` of each defect; `strength` as in blemish()."""
    rng = np.random.default_rng(seed)
    return Parts(
        [shoot(rng, ground(rng)) for _ in range(golden)],
        [shoot(rng, ground(rng)) for _ in range(good)],
        [
            (defect, shoot(rng, blemish(rng, ground(rng), defect, strength)))
            for defect in DEFECTS
            for _ in range(bad)
        ],
    )
