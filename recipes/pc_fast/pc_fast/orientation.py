"""Which way the edges point: knowledge, colliders, Meek's rules."""

from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

import numpy as np

from .independence import ConditionalTest

Pair = tuple[int, int]
Triple = tuple[int, int, int]
Kite = tuple[int, int, int, int]
Sets = dict[frozenset[int], int]


class Orientation:
    """A graph whose edges get their directions one after the other, without a cycle."""

    def __init__(self, graph: np.ndarray) -> None:
        self.graph = graph.copy()
        self.leads_to = np.eye(len(graph), dtype=bool)  # along directed edges
        for i, j in np.argwhere(graph & ~graph.T):
            self.point(i, j)

    def directed(self, i: int, j: int) -> bool:
        return bool(self.graph[i, j] and not self.graph[j, i])

    def undirected(self, i: int, j: int) -> bool:
        return bool(self.graph[i, j] and self.graph[j, i])

    def point(self, i: int, j: int) -> None:
        """Make the edge between i and j i -> j."""
        self.graph[j, i] = False
        before_i = self.leads_to[:, i]
        self.leads_to[before_i] |= self.leads_to[j]


def orient_by_knowledge(adjacent: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return the graph in which an edge forbidden one way points the other way.

    `adjacent`: symmetric bool (p, p). `forbidden[i, j]`: i -> j must not be.
    """
    return adjacent & ~(forbidden & ~forbidden.T)


def orient_colliders(
    graph: np.ndarray,
    test: ConditionalTest,
    forbidden: np.ndarray,
    largest: int,
    alpha: float | None = None,
) -> np.ndarray:
    """Return `graph` with x -> y <- z wherever y makes x and z dependent (maxP).

    The highest p-value of x, z over the sets with y is compared to that over the sets
    without y, so that no single borderline test decides. `largest`: how many columns to
    condition on. With `alpha` a collider must also be confirmed, see `confirmed`.
    Where colliders contradict each other, the one with the strongest dependence given y
    comes first. Source of maxP: Ramsey 2016, arXiv:1610.00378.
    """
    unshielded, _ = triples(graph)
    candidates = [
        (x, y, z)
        for x, y, z in unshielded
        if x < z and not (forbidden[x, y] or forbidden[z, y])
    ]
    strength = collider_strengths(graph, test, candidates, largest, alpha)
    # In the order of the candidates, which decides between p-values of 0.
    colliders = [triple for triple in candidates if triple in strength]
    orientation = Orientation(graph)
    for x, y, z in sorted(colliders, key=strength.__getitem__):
        if not (orientation.leads_to[y, x] or orientation.leads_to[y, z]):
            orientation.point(x, y)
            orientation.point(z, y)
    return orientation.graph


def collider_strengths(
    graph: np.ndarray,
    test: ConditionalTest,
    candidates: list[Triple],
    largest: int,
    alpha: float | None,
) -> dict[Triple, float]:
    """Return the colliders x -> y <- z, with the highest p-value given y."""
    strength = {}
    for (shared, of_x, of_z), pairs in group_pairs(graph, candidates).items():
        sets = conditioning_sets(shared, of_x, of_z, largest)
        p_values = ask(test, np.array(pairs), sets)
        for y in range(2, 2 + shared):
            without, with_y = split(p_values, sets, y)
            collider = without.max(axis=1) > with_y.max(axis=1)
            if alpha is not None:
                collider &= confirmed(without, with_y, alpha)
            for i in np.flatnonzero(collider):
                strength[pairs[i][0], pairs[i][y], pairs[i][1]] = with_y[i].max()
    return strength


def group_pairs(
    graph: np.ndarray, candidates: list[Triple]
) -> dict[Triple, list[list[int]]]:
    """Return lists [x, z, *their neighbours] by how many are shared, of x, of z alone.

    In a group a column has its place, so that its pairs are asked about together.
    """
    neighbours = [set(np.flatnonzero(row).tolist()) for row in graph | graph.T]
    groups = defaultdict(list)
    for x, z in {(x, z) for x, _, z in candidates}:
        shared = neighbours[x] & neighbours[z]
        of_x = neighbours[x] - shared
        of_z = neighbours[z] - shared
        numbers = (len(shared), len(of_x), len(of_z))
        groups[numbers].append([x, z, *shared, *of_x, *of_z])
    return groups


def conditioning_sets(shared: int, of_x: int, of_z: int, largest: int) -> Sets:
    """Return all sets of neighbours of x or of z, numbered from 0.

    A neighbour is its place in x, z, *shared, *of_x, *of_z.
    """
    places = range(2, 2 + shared + of_x + of_z)
    x_side = places[: shared + of_x]
    z_side = [*places[:shared], *places[shared + of_x :]]
    sets: Sets = {}
    for size in range(min(largest, max(len(x_side), len(z_side))) + 1):
        for side in (x_side, z_side):
            for members in combinations(side, size):
                sets.setdefault(frozenset(members), len(sets))
    return sets


def ask(test: ConditionalTest, columns: np.ndarray, sets: Sets) -> np.ndarray:
    """Return the p-values of x and z, columns[:, :2], given each set, (n, sets)."""
    by_size = defaultdict(list)
    for given in sets:
        by_size[len(given)].append((0, 1, *given))
    answers = []
    for places in by_size.values():
        questions = columns[:, places]
        p_values = test.p_values(questions.reshape(-1, questions.shape[2]))
        answers.append(p_values.reshape(len(columns), -1))
    return np.concatenate(answers, axis=1)


def split(p_values: np.ndarray, sets: Sets, y: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the p-values given the sets without y, and given the same sets with y."""
    with_y = [given for given in sets if y in given]
    at = [sets[given] for given in with_y]
    at_without = [sets[given - {y}] for given in with_y]
    return p_values[:, at_without], p_values[:, at]


def confirmed(without: np.ndarray, with_y: np.ndarray, alpha: float) -> np.ndarray:
    """Return where dependence appears with y rather than goes, bool (n,).

    `without`, `with_y`: p-values (n, sets). Some set must separate x and z, and joining
    y to it must make them dependent at `alpha`, more clearly than leaving y out of
    another set does. MaxP alone takes .6 and .5, which show nothing, for a collider.
    """
    appears = with_y.min(axis=1, where=without > alpha, initial=1)
    goes = without.min(axis=1, where=with_y > alpha, initial=1)
    return (appears <= alpha) & (appears < goes)


def meek(graph: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return `graph` with those edges directed that can only point one way.

    Pointing the other way they would make a cycle, or a collider that the data did not
    show. Source: Meek 1995. His fourth rule, which causal-learn lacks, can apply only
    where knowledge has directed an edge.
    """
    orientation = Orientation(graph)
    unshielded, triangles = triples(graph)
    kites = find_kites(graph, triangles)
    changed = True
    while changed:
        before = orientation.graph.copy()
        point_all(orientation, forbidden, rule_1(orientation, unshielded))
        point_all(orientation, forbidden, rule_2(orientation, triangles))
        point_all(orientation, forbidden, rule_3(orientation, kites))
        if forbidden.any():
            point_all(orientation, forbidden, rule_4(orientation, unshielded))
        changed = (orientation.graph != before).any()
    return orientation.graph


def point_all(
    orientation: Orientation, forbidden: np.ndarray, arrows: Iterator[Pair]
) -> None:
    """Direct the edges that a rule yields, which sees each new direction at once."""
    for i, j in arrows:
        cycle = orientation.leads_to[j, i]
        if orientation.undirected(i, j) and not forbidden[i, j] and not cycle:
            orientation.point(i, j)


def rule_1(orientation: Orientation, unshielded: list[Triple]) -> Iterator[Pair]:
    """i -> j - k: i -> j <- k would be a collider, so j -> k."""
    for i, j, k in unshielded:
        if orientation.directed(i, j):
            yield j, k


def rule_2(orientation: Orientation, triangles: list[Triple]) -> Iterator[Pair]:
    """i -> j -> k and i - k: k -> i would close a cycle, so i -> k."""
    for i, j, k in triangles:
        if orientation.directed(i, j) and orientation.directed(j, k):
            yield i, k


def rule_3(orientation: Orientation, kites: list[Kite]) -> Iterator[Pair]:
    """i - j -> m and i - k -> m, j and k apart, i - m: m -> i can't be, so i -> m."""
    for i, j, k, m in kites:
        from_i = orientation.undirected(i, j) and orientation.undirected(i, k)
        if from_i and orientation.directed(j, m) and orientation.directed(k, m):
            yield i, m


def rule_4(orientation: Orientation, unshielded: list[Triple]) -> Iterator[Pair]:
    """i -> j -> k, i and k apart, both undirected to m, m - j: k -> m can't be."""
    graph = orientation.graph
    for i, j, k in unshielded:
        if orientation.directed(i, j) and orientation.directed(j, k):
            between = graph[i] & graph[:, i] & graph[k] & graph[:, k]
            for m in np.flatnonzero(between).tolist():
                yield m, k


def find_kites(graph: np.ndarray, triangles: list[Triple]) -> list[Kite]:
    """Return i, j, k, m where i is adjacent to m, j and k to both, and j not to k."""
    middles = defaultdict(list)
    for i, j, m in triangles:
        middles[i, m].append(j)
    adjacent = graph | graph.T
    kites = []
    for (i, m), middle in middles.items():
        for j, k in combinations(middle, 2):
            if not adjacent[j, k]:
                kites.append((i, j, k, m))
    return kites


def directed_cycle(arrows: np.ndarray) -> list[int]:
    """Return the columns along a cycle of `arrows`, the first again at the end.

    `arrows[i, j]`: i -> j, bool (p, p). Without a cycle the list is empty.
    """
    causes = {j: np.flatnonzero(arrows[:, j]).tolist() for j in range(len(arrows))}
    try:
        TopologicalSorter(causes).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def triples(graph: np.ndarray) -> tuple[list[Triple], list[Triple]]:
    """Return the paths i, j, k whose ends are not adjacent, and those whose ends are.

    In causal-learn's order, which decides between colliders whose p-values are both 0.
    """
    forwards = np.argwhere(graph)
    backwards = np.argwhere(graph.T & ~graph)
    follow = defaultdict(list)
    edges = [(i, j) for j, i in np.concatenate([forwards, backwards]).tolist()]
    for i, j in edges:
        follow[i].append(j)
    adjacent = graph | graph.T
    unshielded: list[Triple] = []
    triangles: list[Triple] = []
    for i, j in edges:
        for k in follow[j]:
            if k != i:
                kind = triangles if adjacent[i, k] else unshielded
                kind.append((i, j, k))
    return unshielded, triangles
