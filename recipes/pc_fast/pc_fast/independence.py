"""Tests of conditional independence that answer many questions in one call."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, ndtr, xlogy

CELLS = 2**16  # of the matrices worked on at once: half a megabyte, for the CPU's cache
TINY = 1e-12


class ConditionalTest:
    """Is column x independent of column y, given the columns S?"""

    rows: int
    columns: int

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        """Return p-values, shape (m,), for questions (x, y, *S), int (m, 2 + |S|)."""
        raise NotImplementedError


class FisherZ(ConditionalTest):
    """Fisher's z of the partial correlation: linear relations with normal noise.

    `data`: float, shape (n rows, p columns), without gaps and without a column that
    is a linear combination of others.
    """

    def __init__(self, data: np.ndarray) -> None:
        self.rows, self.columns = data.shape
        # A column may be constant in a bootstrap sample: it then relates to nothing.
        with np.errstate(divide="ignore", invalid="ignore"):
            self.correlation = np.nan_to_num(np.corrcoef(data, rowvar=False))
        np.fill_diagonal(self.correlation, 1)

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        answers = np.empty(len(questions))
        size = max(1, CELLS // questions.shape[1] ** 2)
        for start in range(0, len(questions), size):
            batch = slice(start, start + size)
            answers[batch] = self._p_values(questions[batch].T)
        return answers

    def _p_values(self, columns: np.ndarray) -> np.ndarray:
        # One small correlation matrix for each question. Eliminate the columns of S
        # one by one: what is left of x and y is their partial correlation.
        matrix = self.correlation.take(columns[:, None] * self.columns + columns)
        for last in range(len(columns) - 1, 1, -1):
            pivot = np.maximum(matrix[last, last], TINY)  # 0 if S is redundant
            weight = matrix[last, :last] / pivot
            matrix[:last, :last] -= matrix[:last, None, last] * weight
        scale = np.sqrt(np.maximum(matrix[0, 0] * matrix[1, 1], TINY**2))
        limit = 1 - np.finfo(float).eps
        partial = np.clip(matrix[0, 1] / scale, -limit, limit)
        freedom = self.rows - len(columns) - 1
        z = np.sqrt(freedom) * np.abs(np.arctanh(partial))
        return 2 * ndtr(-z)  # 1 - ndtr(z) would be 0 beyond 8


@dataclass
class Strata:
    """Rows by their values in S (their stratum), and in S and x together (their cell).

    A stratum in which x has one value says nothing about x and y: it is left out.
    """

    rows: np.ndarray  # which rows of the table are left, (n,)
    weights: np.ndarray | None  # how often each of them occurs, (n,); None: once
    cell: np.ndarray  # of each row, (n,); cells of a stratum have adjacent numbers
    n_cell: np.ndarray  # observations in each cell, (cells,)
    first: np.ndarray  # cell of each stratum, (strata,)
    cells: np.ndarray  # in each stratum, (strata,)
    n_stratum: np.ndarray  # observations in each stratum, (strata,)


class ContingencyTest(ConditionalTest):
    """Count categories within each stratum of S; GSquare and ChiSquare compare counts.

    `data`: categories, shape (n rows, p columns), each column of a kind that sorts.
    """

    def __init__(self, data: np.ndarray) -> None:
        self.rows, self.columns = data.shape
        codes = [np.unique(column, return_inverse=True)[1] for column in data.T]
        self.codes = np.array(codes)
        self.levels = (self.codes.max(axis=1) + 1).tolist()

    def statistic(self, n: np.ndarray, n_y: np.ndarray, strata: Strata) -> float:
        """Return the test's statistic from counts (cells, y) and (strata, y)."""
        raise NotImplementedError

    def p_values(self, questions: np.ndarray) -> np.ndarray:
        codes, weights = self._distinct_rows(questions)
        places = defaultdict(list)  # of the questions that differ in y only
        for place, (x, _, *given) in enumerate(questions.tolist()):
            places[x, *given].append(place)
        answers = np.empty(len(questions))
        for x, *given in places:
            strata = self._stratify(codes, weights, x, given)
            for place in places[x, *given]:
                y = questions[place, 1]
                answers[place] = self._p_value(strata, codes[y], self.levels[y])
        return answers

    def _p_value(self, strata: Strata, codes: np.ndarray, levels: int) -> float:
        if len(strata.first) == 0:
            return 1.0
        shape = (len(strata.n_cell), levels)
        n = count(strata.cell * levels + codes[strata.rows], strata.weights, shape)
        n_y = np.add.reduceat(n, strata.first)
        # A value that doesn't occur in a stratum gives no degree of freedom there.
        freedom = strata.cells - 1
        degrees = (freedom @ np.minimum(n_y, 1)).sum() - freedom.sum()
        if degrees == 0:
            return 1.0
        return float(chdtrc(degrees, self.statistic(n, n_y, strata)))

    def _stratify(
        self, codes: np.ndarray, weights: np.ndarray | None, x: int, given: list[int]
    ) -> Strata:
        levels = self.levels[x]
        stratum, size = self._combine(codes, given)
        n = count(codes[x] * size + stratum, weights, (levels, size))
        cells = np.count_nonzero(n, axis=0)
        varies = cells > 1
        rows = np.flatnonzero(varies[stratum])
        # Number the strata that are left, then the cells that occur in them.
        stratum = renumber(varies)[stratum[rows]]
        n = n.T[varies].ravel()
        cell = renumber(n)[stratum * levels + codes[x][rows]]
        n_cell = n[n > 0]
        cells = cells[varies]
        first = np.cumsum(cells) - cells
        return Strata(
            rows=rows,
            weights=None if weights is None else weights[rows],
            cell=cell,
            n_cell=n_cell,
            first=first,
            cells=cells,
            n_stratum=np.add.reduceat(n_cell, first),
        )

    def _distinct_rows(
        self, questions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the codes, and how often each row occurs, where that saves work.

        Rows that agree on all columns of the questions count once: often thousands
        become hundreds.
        """
        if questions.shape[1] == 2 or len(questions) <= 20:  # sorting wouldn't pay
            return self.codes, None
        code, _ = self._combine(self.codes, np.unique(questions).tolist())
        _, first, weights = np.unique(code, return_index=True, return_counts=True)
        if len(first) > self.rows / 2:
            return self.codes, None
        return self.codes[:, first], weights

    def _combine(self, codes: np.ndarray, columns: list[int]) -> tuple[np.ndarray, int]:
        """Return a code for each row's values in `columns`, and how many codes."""
        code = np.zeros(codes.shape[1], dtype=np.int64)
        size = 1
        for column in columns:
            code = code * self.levels[column] + codes[column]
            size *= self.levels[column]
            if size > self.rows:  # number only those that occur
                n = np.bincount(code, minlength=size)
                code = renumber(n)[code]
                size = int(np.count_nonzero(n))
        return code, size


def count(
    codes: np.ndarray, weights: np.ndarray | None, shape: tuple[int, int]
) -> np.ndarray:
    """Return how many observations have each of the codes 0, 1, ..., int (shape)."""
    counts = np.bincount(codes, weights, shape[0] * shape[1])
    return counts.astype(np.int64, copy=False).reshape(shape)


def renumber(occurs: np.ndarray) -> np.ndarray:
    """Return an array that maps the places where `occurs` isn't 0 to 0, 1, 2, ..."""
    old = np.flatnonzero(occurs)
    new = np.zeros(len(occurs), dtype=np.int64)
    new[old] = np.arange(len(old))
    return new


class GSquare(ContingencyTest):
    """Likelihood ratio (G-square) test."""

    def __init__(self, data: np.ndarray) -> None:
        super().__init__(data)
        counts = np.arange(self.rows + 1)
        self.n_log_n = xlogy(counts, counts)

    def statistic(self, n: np.ndarray, n_y: np.ndarray, strata: Strata) -> float:
        joint = self._sum(n) + self._sum(strata.n_stratum)
        apart = self._sum(strata.n_cell) + self._sum(n_y)
        return max(2 * (joint - apart), 0.0)

    def _sum(self, counts: np.ndarray) -> float:
        return self.n_log_n.take(counts).sum()


class ChiSquare(ContingencyTest):
    """Pearson's chi-square test."""

    def statistic(self, n: np.ndarray, n_y: np.ndarray, strata: Strata) -> float:
        share = n_y / strata.n_stratum[:, None]  # of each value of y in its stratum
        share_of_cell = np.repeat(share, strata.cells, axis=0)
        expected = strata.n_cell[:, None] * share_of_cell
        possible = expected > 0
        distance = (n[possible] - expected[possible]) ** 2
        return (distance / expected[possible]).sum()
