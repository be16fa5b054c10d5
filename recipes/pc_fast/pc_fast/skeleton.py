"""Which columns are adjacent: the first half of PC, in its stable form."""

from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np

from .independence import ConditionalTest

Separators = dict[tuple[int, int], tuple[int, ...]]

SETS = 256  # asked about at once: pairs that one batch separates leave the next


def skeleton(
    test: ConditionalTest,
    alpha: float,
    adjacent: np.ndarray,
    keep: np.ndarray,
    largest: int,
) -> tuple[np.ndarray, Separators]:
    """Remove each edge whose ends are independent given some neighbours of either end.

    `adjacent`: where to start, symmetric bool (p, p). `keep`: edges not to remove,
    likewise. `largest`: how many columns to condition on at most. Returns what is left
    of `adjacent`, and for each pair that was separated a set of columns that did it.
    Source: Colombo & Maathuis 2014, algorithm 4.1.
    """
    separators: Separators = {}
    size = 0
    while size <= largest and adjacent.sum(axis=1).max() > size:
        # All questions of one size see the same neighbours, so that the order of the
        # columns makes no difference.
        remaining = adjacent.copy()
        for x in range(test.columns):
            for questions in node_questions(x, adjacent, size):
                ys = questions[:, 1]
                questions = questions[remaining[x, ys] & ~keep[x, ys]]
                separated = questions[test.p_values(questions) > alpha]
                remaining[x, separated[:, 1]] = False
                remaining[separated[:, 1], x] = False
                for _, y, *given in separated.tolist():
                    separators[x, y] = tuple(given)
        adjacent = remaining
        size += 1
    return adjacent, separators


def node_questions(x: int, adjacent: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield batches (m, 2 + size) of all (x, y, *S), y and S among x's neighbours.

    Left out is what an earlier node asks with the roles of x and y exchanged.
    """
    sets = combinations(np.flatnonzero(adjacent[x]).tolist(), size + 1)
    while batch := list(islice(sets, SETS)):
        members = np.array(batch)
        ys = members.T.ravel()  # each member is y once, the others are S
        given = [np.delete(members, place, axis=1) for place in range(size + 1)]
        questions = np.column_stack([np.full(len(ys), x), ys, np.concatenate(given)])
        earlier = (ys < x) & adjacent[ys[:, None], questions[:, 2:]].all(axis=1)
        yield questions[~earlier]
