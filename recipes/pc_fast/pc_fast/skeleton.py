"""Which columns are adjacent: the first half of PC, in its order-independent ("stable") form."""

from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np

from .independence import BATCH, ConditionalTest


def skeleton(
    test: ConditionalTest,
    alpha: float,
    adjacent: np.ndarray,
    keep: np.ndarray,
    largest: int,
) -> tuple[np.ndarray, dict[tuple[int, int], tuple[int, ...]]]:
    """Remove each edge whose ends are independent given some neighbours of either end.

    `adjacent`: where to start, symmetric bool (p, p). `keep`: edges not to remove, likewise.
    `largest`: how many columns to condition on at most. Returns what is left of `adjacent`, and
    for each removed pair x < y the set that separates it best (highest p-value).
    Source: Colombo & Maathuis 2014, algorithm 4.1.
    """
    separators: dict[tuple[int, int], tuple[int, ...]] = {}
    size = 0
    while size <= largest and adjacent.sum(axis=1).max() > size:
        best: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for x in range(test.columns):
            for questions in node_questions(x, adjacent, size):
                questions = questions[~keep[x, questions[:, 1]]]
                p_values = test.p_values(questions)
                over = np.flatnonzero(p_values > alpha)
                over = over[np.argsort(-p_values[over], kind="stable")]
                for i in over[np.unique(questions[over, 1], return_index=True)[1]]:
                    _, y, *given = questions[i].tolist()
                    pair = (min(x, y), max(x, y))
                    if pair not in best or p_values[i] > best[pair][0]:
                        best[pair] = (p_values[i], tuple(given))
        # Only now, so that the order of the columns makes no difference.
        adjacent = adjacent.copy()
        for (x, y), (_, given) in best.items():
            adjacent[x, y] = adjacent[y, x] = False
            separators[x, y] = given
        size += 1
    return adjacent, separators


def node_questions(x: int, adjacent: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield all (x, y, *S) with y and `size` columns S among x's neighbours, (m, 2 + size) a time.

    Leaves out those that are asked for a node before x with the roles of x and y exchanged.
    """
    sets = combinations(np.flatnonzero(adjacent[x]).tolist(), size + 1)
    while batch := list(islice(sets, BATCH)):
        chosen = np.array(batch)
        y = chosen.T.ravel()  # each of the chosen is y once, the others are S
        given = np.concatenate([np.delete(chosen, i, axis=1) for i in range(size + 1)])
        asked = (y < x) & adjacent[y[:, None], given].all(axis=1)
        yield np.column_stack([np.full(len(y), x), y, given])[~asked]
