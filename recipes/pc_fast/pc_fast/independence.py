"""Tests of conditional independence that answer many questions in one call."""

import math
from collections import defaultdict

import numpy as np
from scipy.special import chdtrc, ndtr, xlogy

BATCH = 2**14  # questions at once: enough for speed, and a few megabytes
TINY = 1e-12


class ConditionalTest:
    """Is column x independent of column y, given the columns S? Columns are numbered from 0."""

    rows: int
    columns: int

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        """Return p-values, shape (m,), for questions (x, y, *S), int, shape (m, 2 + |S|)."""
        raise NotImplementedError


class FisherZ(ConditionalTest):
    """Fisher's z of the partial correlation: linear relations with normal noise.

    `data`: float, shape (n rows, p columns), nothing missing, no column a sum of others.
    """

    def __init__(self, data: np.ndarray) -> None:
        self.rows, self.columns = data.shape
        # A bootstrap sample may hold one value of a column only, which then relates to nothing.
        with np.errstate(divide="ignore", invalid="ignore"):
            self.correlation = np.nan_to_num(np.corrcoef(data, rowvar=False))
        np.fill_diagonal(self.correlation, 1)

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        parts = [questions[i : i + BATCH] for i in range(0, len(questions), BATCH)]
        return np.concatenate([self._answer(part.T) for part in parts] or [np.zeros(0)])

    def _answer(self, columns: np.ndarray) -> np.ndarray:
        # A small matrix of correlations for each question, all worked on at once: the columns of
        # S are taken out one by one, and what is left of x and y is their partial correlation.
        left = self.correlation[columns[:, None], columns]
        for last in range(len(columns) - 1, 1, -1):
            pivot = np.maximum(
                left[last, last], TINY
            )  # 0 if the others determine the column
            left = left[:last, :last] - left[:last, None, last] * (
                left[last, :last] / pivot
            )
        scale = np.sqrt(np.maximum(left[0, 0] * left[1, 1], TINY**2))
        limit = 1 - np.finfo(float).eps
        partial = np.clip(left[0, 1] / scale, -limit, limit)
        freedom = self.rows - len(columns) - 1
        return 2 * ndtr(
            -np.sqrt(freedom) * np.abs(np.arctanh(partial))
        )  # 1 - ndtr ends at 1e-16


class ContingencyTest(ConditionalTest):
    """Counts categories within each stratum of S; the two classes below compare the counts.

    `data`: categories, shape (n rows, p columns), each column of a kind that can be sorted.
    """

    def __init__(self, data: np.ndarray) -> None:
        self.rows, self.columns = data.shape
        self.codes = np.array(
            [np.unique(column, return_inverse=True)[1] for column in data.T]
        )
        self.levels = (self.codes.max(axis=1) + 1).tolist()

    def statistic(
        self, n: np.ndarray, nx: np.ndarray, ny: np.ndarray, ns: np.ndarray
    ) -> float:
        """Return the test's statistic from counts (s, x, y) and their sums (s, x), (s, y), (s,)."""
        raise NotImplementedError

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        codes, weights = self.codes, None
        if (
            questions.shape[1] > 2 and len(questions) > 20
        ):  # else sorting the rows doesn't pay
            # Rows that agree on all columns asked about count once: thousands become hundreds.
            code, _ = self._combine(codes, np.unique(questions).tolist(), limit=2**50)
            _, first, weights = np.unique(code, return_index=True, return_counts=True)
            codes = codes[:, first]
        alike = defaultdict(list)  # questions that differ in y only
        for i, (x, _, *given) in enumerate(questions.tolist()):
            alike[x, *given].append(i)
        answers = np.empty(len(questions))
        for (x, *given), where in alike.items():
            answers[where] = self._answer(
                codes, weights, x, questions[where, 1].tolist(), given
            )
        return answers

    def _answer(
        self,
        codes: np.ndarray,
        weights: np.ndarray | None,
        x: int,
        ys: list[int],
        given: list[int],
    ) -> list[float]:
        """Return the p-values of x and each of `ys`, given the columns `given`."""
        stratum, strata = self._combine(codes, given, limit=4 * self.rows)
        row = stratum * self.levels[x] + codes[x]
        nx = count(row, weights, (strata, self.levels[x]))
        ns = nx.sum(axis=1)
        # A level that does not occur within a stratum gives no degree of freedom there.
        free_x = ((nx > 0).sum(axis=1) - 1) * (ns > 0)
        answers = []
        for y in ys:
            n = count(
                row * self.levels[y] + codes[y], weights, (*nx.shape, self.levels[y])
            )
            ny = n.sum(axis=1)
            degrees = free_x @ ((ny > 0).sum(axis=1) - 1)
            statistic = self.statistic(n, nx, ny, ns)
            answers.append(chdtrc(degrees, statistic) if degrees else 1.0)
        return answers

    def _combine(
        self, codes: np.ndarray, columns: list[int], limit: int
    ) -> tuple[np.ndarray, int]:
        """Return a code per row for its values in `columns` together, all below the int returned.

        Where that exceeds `limit` the combinations that occur are numbered anew.
        """
        code, size = np.zeros(codes.shape[1], dtype=np.int64), 1
        for column in columns:
            code, size = (
                code * self.levels[column] + codes[column],
                size * self.levels[column],
            )
            if size > limit:
                present, code = np.unique(code, return_inverse=True)
                size = len(present)
        return code, size


def count(
    cells: np.ndarray, weights: np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray:
    """Return how many rows fall into each cell, int, in the given shape."""
    counts = np.bincount(cells, weights, math.prod(shape))
    return counts.astype(np.int64, copy=False).reshape(shape)


class GSquare(ContingencyTest):
    """Likelihood ratio (G-square) test."""

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data)
        self.n_log_n = xlogy(np.arange(self.rows + 1), np.arange(self.rows + 1))

    def statistic(
        self, n: np.ndarray, nx: np.ndarray, ny: np.ndarray, ns: np.ndarray
    ) -> float:
        look_up = self.n_log_n.take
        g = look_up(n).sum() - look_up(nx).sum() - look_up(ny).sum() + look_up(ns).sum()
        return max(2 * g, 0.0)


class ChiSquare(ContingencyTest):
    """Pearson's chi-square test."""

    def statistic(
        self, n: np.ndarray, nx: np.ndarray, ny: np.ndarray, ns: np.ndarray
    ) -> float:
        expected = nx[:, :, None] * ny[:, None, :] / np.maximum(ns, 1)[:, None, None]
        return ((n - expected) ** 2 / np.where(expected, expected, 1)).sum()
