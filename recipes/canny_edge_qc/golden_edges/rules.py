"""The two rules: edge density as in the textbook, and edges compared with those of good parts."""

from collections.abc import Iterable, Sequence
from math import ceil, inf, isfinite
from typing import Any

import cv2
import numpy as np

from golden_edges.surface import (
    check_grey,
    even_light,
    flatten,
    grain,
    normalise,
    read_grey,
    upright,
)

SCALES = 3  # the picture itself, a half and a quarter of its size
SHARP, WEAK = 0.99, 0.6  # Canny: high threshold as a quantile of good gradients; low / high
POWER = 4  # of the gradients along an edge: so that a chain of weak points does not add up to much
RIM = 0.03  # edges this near to the picture's rim are judged apart: a part may end there
DIRECTIONAL = 0.15  # coherence from which a surface has a direction
WORST = 2  # so many features make the score
QUANTILE = 0.95  # of the good parts' scores: the limit
FEWEST = 5  # good parts; below 20 the limit is simply the worst of them

FEATURES = [
    f"{what} {where}, scale {2**scale}"
    for scale in range(SCALES)
    for where in ("inside", "at the rim")
    for what in ("largest edge", "sharpest edge")
] + [
    "strongest local contrast",
    "spread of local contrast",
    "unevenness of light",
    "lack of texture",
]


Box = tuple[int, int, int, int]  # x, y, width, height in px


def textbook_edges(grey: np.ndarray, low: float = 50, high: float = 150) -> np.ndarray:
    """Return Canny's edges of the raw picture, uint8 0 or 255."""
    return cv2.Canny(grey, low, high)


def density(edges: np.ndarray) -> float:
    """Return the share of edge pixels."""
    return cv2.countNonZero(edges) / edges.size


def gradients(even: np.ndarray, scales: int = SCALES) -> list[list[np.ndarray]]:
    """Return [dx, dy], int16 as cv2.Canny takes them, of an evened picture at each scale."""
    found = []
    for scale in range(scales):
        smooth, gain = cv2.GaussianBlur(even, (0, 0), 1.0), 512 * 2**scale
        found.append([cv2.Sobel(smooth, cv2.CV_16S, *d, scale=gain) for d in ((1, 0), (0, 1))])
        even = cv2.pyrDown(even)
    return found


def strengths(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Return the gradients' lengths as Canny measures them: |dx| + |dy|, float64."""
    return np.abs(dx.astype(np.float64)) + np.abs(dy)


def edge_features(
    even: np.ndarray, canny: list[float]
) -> tuple[list[float], list[Box], list[np.ndarray]]:
    """Return 4 values and 4 boxes per scale, more being worse, and the edge map of each scale.

    Inside, then at the rim: the largest connected edge, by its gradients (their 4-norm), and the
    sharpest point of all edges. `canny` holds the high threshold of each scale.
    """
    values: list[float] = []
    boxes: list[Box] = []
    maps: list[np.ndarray] = []
    for (dx, dy), high in zip(gradients(even, len(canny)), canny, strict=True):
        edges = cv2.Canny(dx, dy, WEAK * high, high)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
        side, (height, width) = np.sqrt(edges.size), edges.shape
        at = np.append(np.flatnonzero(edges), 0)  # the corner stands in for no edge at all
        owner, (y, x) = labels.ravel()[at], np.divmod(at, width)
        strength = strengths(dx.ravel()[at], dy.ravel()[at]) / high * (owner > 0)
        rim = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]) < max(2, RIM * side)
        for where in (~rim, rim):
            energy = np.bincount(owner, (strength * where) ** POWER, count)
            sharpest = int((strength * where).argmax())
            values += [0.1 + (energy.max() / side) ** (1 / POWER), 0.5 + (strength * where).max()]
            for edge in (energy.argmax(), owner[sharpest]):
                left, top, wide, tall = (stats[edge, :4] * 2 ** len(maps)).tolist()
                wide, tall = min(wide, even.shape[1] - left), min(tall, even.shape[0] - top)
                boxes.append((left, top, wide, tall) if edge else (0, 0, 0, 0))
        maps.append(edges)
    return values, boxes, maps


def features(
    grey: np.ndarray, surface: dict[str, Any]
) -> tuple[np.ndarray, list[Box], list[np.ndarray]]:
    """Return FEATURES of an upright picture, float64 (16,), log scale; boxes (12); maps (3).

    To the edges come local contrast and the light that is uneven beyond a shadow over the whole
    picture. One with less texture than good parts have (out of focus, no part at all) must not
    pass for want of edges.
    """
    lit, uneven = even_light(grey)
    flat = flatten(lit, direction(surface))
    even, contrast = normalise(flat)
    values, boxes, maps = edge_features(even, surface["canny"])
    values += [0.1 + contrast.max(), 0.01 + contrast[::4, ::4].std(), 0.001 + uneven]
    values.append(1 / (0.001 + np.median(np.abs(flat[::4, ::4]))))
    return np.log(values), boxes, maps


def direction(surface: dict[str, Any]) -> float | None:
    """Return the angle to flatten along, None for a surface without one."""
    return surface["angle"] if surface["directional"] else None


def canny_thresholds(evened: Iterable[np.ndarray]) -> list[float]:
    """Return Canny's high threshold per scale: few points of a good surface are as sharp."""
    sharp = [
        [np.quantile(strengths(dx[::2, ::2], dy[::2, ::2]), SHARP) for dx, dy in gradients(even)]
        for even in evened
    ]
    return np.maximum(np.median(sharp, axis=0), 1.0).tolist()


def excess(values: np.ndarray, usual: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return how far features lie above the good parts' medians; 1 is where 1 good part in 20 is.

    The unit is taken upwards only: features have long upper tails (a groove, a part that ends
    within the picture), on which a standard deviation is too mild or too strict. Below counts as 0.
    """
    return np.maximum(0, (values - usual) / np.maximum(high - usual, 0.05))


def usual_and_high(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the features' medians and 95 % quantiles over good parts, float64 (n, 16)."""
    return np.median(values, axis=0), np.quantile(values, QUANTILE, axis=0)


def score(beyond: np.ndarray) -> np.ndarray:
    """Return the mean of the WORST largest values along the last axis."""
    return np.sort(beyond, axis=-1)[..., -WORST:].mean(axis=-1)


def left_out_scores(values: np.ndarray) -> np.ndarray:
    """Return each good part's score against the others, float64 (n,), of their features (n, k)."""
    others = (usual_and_high(np.delete(values, i, axis=0)) for i in range(len(values)))
    return np.array([score(excess(v, *o)) for v, o in zip(values, others, strict=True)])


def limit(good: np.ndarray) -> float:
    """Return the value that a further good part exceeds with 1 - QUANTILE probability at most.

    That is the ceil((n + 1) * QUANTILE)-th smallest of n (conformal prediction), or the largest.
    """
    return float(np.sort(good)[min(len(good), ceil((len(good) + 1) * QUANTILE)) - 1])


def calibrate(images: Sequence[bytes | np.ndarray]) -> dict[str, Any]:
    """Return what the model has to know, as JSON-ready values, from pictures of good parts alone.

    `images`: encoded files or uint8 arrays (height, width), of any sizes. Each part's score for
    the limit is taken against the others (leave one out). Raises ValueError with fewer than FEWEST
    images, or for one that can't be read, by its position.
    """
    if len(images) < FEWEST:
        raise ValueError(f"{len(images)} good parts; give at least {FEWEST}, better 60")
    parts = []
    for position, image in enumerate(images):
        try:
            parts.append(check_grey(image) if isinstance(image, np.ndarray) else read_grey(image))
        except ValueError as error:
            raise ValueError(f"good part {position}: {error}") from None
    directions = [grain(part) for part in parts]
    angle = round(float(np.degrees(np.angle(sum(directions)) / 2)), 2)
    directional = bool(np.mean(np.abs(directions)) >= DIRECTIONAL)
    surface: dict[str, Any] = {"angle": angle, "directional": directional}
    standing = [upright(part, angle)[0] for part in parts]
    flats = (flatten(even_light(part)[0], direction(surface)) for part in standing)
    surface["canny"] = canny_thresholds(normalise(flat)[0] for flat in flats)
    values = np.array([features(part, surface)[0] for part in standing])
    usual, high = usual_and_high(values)
    return surface | {
        "parts": len(parts),
        "usual": usual.tolist(),
        "high": high.tolist(),
        "limit": max(1.0, limit(left_out_scores(values))),
        "density_limit": max(1e-6, limit(np.array([density(textbook_edges(p)) for p in parts]))),
    }


def check_calibration(known: dict[str, Any]) -> dict[str, Any]:
    """Return the calibration if it is whole; ValueError names what isn't.

    cv2.Canny compares with a NaN threshold, which is never exceeded, and finds no edge: all good.
    """
    many = {"canny": SCALES, "usual": len(FEATURES), "high": len(FEATURES)}
    for name in ("angle", "limit", "density_limit", *many):
        numbers = known.get(name) if name in many else [known.get(name)]
        numbers = numbers if isinstance(numbers, list) else []
        lowest = 0 if name in ("canny", "limit", "density_limit") else -inf
        good = (isinstance(n, int | float) and isfinite(n) and n > lowest for n in numbers)
        if len(numbers) != many.get(name, 1) or not all(good):
            raise ValueError(f"calibration: {name!r} is {known.get(name)!r}; calibrate again")
    if not isinstance(known.get("directional"), bool):
        raise ValueError("calibration: 'directional' is not true or false; calibrate again")
    return known
