"""Which way the edges point: knowledge, colliders by maxP, Meek's rules."""

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

import numpy as np

from .independence import ConditionalTest

Triple = tuple[int, int, int]


def orient_by_knowledge(adjacent: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return the graph in which an edge that is forbidden one way points the other way.

    `adjacent`: symmetric bool (p, p). `forbidden[i, j]`: i -> j must not be; bool (p, p).
    """
    return adjacent & ~(forbidden & ~forbidden.T)


def orient_colliders(
    graph: np.ndarray,
    test: ConditionalTest,
    forbidden: np.ndarray,
    largest: int,
    alpha: float | None = None,
) -> np.ndarray:
    """Return `graph` with x -> y <- z wherever y makes its neighbours x and z dependent (maxP).

    The highest p-value of x, z over the sets with y is compared to that over the sets without y,
    so that no single borderline test decides. Where colliders contradict each other, the one with
    the strongest dependence given y comes first. `largest`: how many columns to condition on.

    With `alpha` a collider must also be confirmed: some set separates x and z, and joining y to it
    makes them dependent at that level, more clearly than leaving y out of another set does. MaxP
    alone takes p-values of .6 and .5, which show neither, for a collider.
    Source of maxP: Ramsey 2016, arXiv:1610.00378.
    """
    graph = graph.copy()
    neighbours = [set(np.flatnonzero(row).tolist()) for row in graph | graph.T]
    unshielded, _ = triples(graph)
    candidates = [
        (x, y, z)
        for x, y, z in unshielded
        if x < z and not (forbidden[x, y] or forbidden[z, y])
    ]
    alike = defaultdict(
        list
    )  # pairs by their numbers of neighbours: shared, of x, of z alone
    for x, z in {(x, z) for x, _, z in candidates}:
        of_x, of_z = neighbours[x], neighbours[z]
        both, x_alone, z_alone = of_x & of_z, of_x - of_z, of_z - of_x
        numbers = len(both), len(x_alone), len(z_alone)
        alike[numbers].append([x, z, *both, *x_alone, *z_alone])
    strength = {}
    for (shared, of_one, of_other), pairs in alike.items():
        columns = np.array(pairs)
        most = min(largest, shared + max(of_one, of_other))
        sets = [subsets(shared, of_one, of_other, size) for size in range(most + 1)]
        p = np.concatenate([ask(test, columns, given) for given in sets], axis=1)
        for y in range(2, 2 + shared):
            without, with_y = (p[:, at] for at in joined(sets, y))
            found = without.max(axis=1) > with_y.max(axis=1)
            if alpha is not None:
                found &= confirmed(without, with_y, alpha)
            for i in np.flatnonzero(found):
                strength[columns[i, 0], columns[i, y], columns[i, 1]] = with_y[i].max()
    # In the order of the candidates, which decides between p-values of 0.
    colliders = [triple for triple in candidates if triple in strength]
    for x, y, z in sorted(colliders, key=strength.__getitem__):
        if not (leads_to(graph, y, x) or leads_to(graph, y, z)):
            graph[y, x] = graph[y, z] = False
    return graph


def confirmed(without: np.ndarray, with_y: np.ndarray, alpha: float) -> np.ndarray:
    """Return where dependence appears with y rather than goes, (n,); p-values (n, sets)."""
    appears = with_y.min(axis=1, where=without > alpha, initial=1)
    goes = without.min(axis=1, where=with_y > alpha, initial=1)
    return (appears <= alpha) & (appears < goes)


def subsets(shared: int, of_x: int, of_z: int, size: int) -> np.ndarray:
    """Return the sets of neighbours of x or of z, (m, size): places in x, z, shared, of_x, of_z."""
    first, end = range(2, 2 + shared + of_x), 2 + shared + of_x + of_z
    second = [*range(2, 2 + shared), *range(first.stop, end)]
    sets = [*combinations(first, size)]
    if of_z and size:  # what holds shared ones alone is among the first
        sets += (
            given for given in combinations(second, size) if given[-1] >= first.stop
        )
    return np.array(sets, np.intp).reshape(len(sets), size)


def joined(sets: list[np.ndarray], y: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where in `sets`, counted through, the sets with y are: without it, and with it."""
    # A set's key is the xor of its members' keys, so that another xor takes y out.
    key = np.random.default_rng(0).integers(
        2**63, size=1 + max(given.max(initial=y) for given in sets)
    )
    keys = np.concatenate([np.bitwise_xor.reduce(key[given], axis=1) for given in sets])
    with_y = np.flatnonzero(
        np.concatenate([(given == y).any(axis=1) for given in sets])
    )
    order = np.argsort(keys)
    return order[np.searchsorted(keys, keys[with_y] ^ key[y], sorter=order)], with_y


def ask(test: ConditionalTest, columns: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the p-values of x and z, columns[:, :2], given each set of places, (n, sets)."""
    ends = np.broadcast_to(columns[:, None, :2], (len(columns), len(given), 2))
    questions = np.concatenate([ends, columns[:, given]], axis=2)
    return test.p_values(questions.reshape(-1, questions.shape[2])).reshape(
        len(columns), -1
    )


def meek(graph: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return `graph` with those edges directed that can only point one way (Meek 1995, rules 1-4).

    Pointing the other way they would make a cycle, or a collider that the data did not show. The
    fourth rule, which causal-learn lacks, can apply only where knowledge has directed an edge.
    """
    graph = graph.copy()

    def directed(i: int, j: int) -> bool:
        return graph[i, j] and not graph[j, i]

    def undirected(i: int, j: int) -> bool:
        return graph[i, j] and graph[j, i]

    def point(i: int, j: int) -> None:
        if undirected(i, j) and not forbidden[i, j] and not leads_to(graph, j, i):
            graph[j, i] = False

    unshielded, triangles = triples(graph)
    ends = defaultdict(list)
    for i, j, k in triangles:
        ends[i, k].append(j)
    kites = [
        (i, j, k, m)
        for (i, m), middle in ends.items()
        for j, k in combinations(middle, 2)
        if not (graph[j, k] or graph[k, j])
    ]
    before = None
    while before is None or (graph != before).any():
        before = graph.copy()
        for i, j, k in unshielded:
            if directed(i, j):
                point(j, k)
        for i, j, k in triangles:
            if directed(i, j) and directed(j, k):
                point(i, k)
        for i, j, k, m in kites:
            if (
                undirected(i, j)
                and undirected(i, k)
                and directed(j, m)
                and directed(k, m)
            ):
                point(i, m)
        for i, j, k in unshielded if forbidden.any() else ():
            if directed(i, j) and directed(j, k):
                both = graph[i] & graph[:, i] & graph[k] & graph[:, k]
                for start in np.flatnonzero(both).tolist():
                    point(start, k)
    return graph


def directed_cycle(arrows: np.ndarray) -> list[int]:
    """Return the columns along a cycle of `arrows`, the first again at the end; [] if none.

    `arrows[i, j]`: i -> j, bool (p, p).
    """
    causes = {j: np.flatnonzero(arrows[:, j]).tolist() for j in range(len(arrows))}
    try:
        TopologicalSorter(causes).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def leads_to(graph: np.ndarray, start: int, goal: int) -> bool:
    """Return whether directed edges lead from `start` to `goal`."""
    seen, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        children = set(np.flatnonzero(graph[node] & ~graph[:, node]).tolist()) - seen
        seen |= children
        waiting.extend(children)
    return goal in seen


def triples(graph: np.ndarray) -> tuple[list[Triple], list[Triple]]:
    """Return the paths i, j, k whose ends are not adjacent, and those whose ends are.

    In causal-learn's order, which decides between colliders whose p-values are both 0.
    """
    pairs = np.concatenate([np.argwhere(graph), np.argwhere(graph.T & ~graph)])[
        :, ::-1
    ].tolist()
    follow = defaultdict(list)
    for j, k in pairs:
        follow[j].append(k)
    adjacent = graph | graph.T
    paths = [(i, j, k) for i, j in pairs for k in follow[j] if k != i]
    unshielded = [path for path in paths if not adjacent[path[0], path[2]]]
    return unshielded, [path for path in paths if adjacent[path[0], path[2]]]
