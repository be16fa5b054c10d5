"""Which way the edges point: knowledge, colliders by maxP, Meek's rules."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain, combinations

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
    neighbours = [np.flatnonzero(row).tolist() for row in graph | graph.T]
    unshielded, _ = triples(graph)
    candidates = [
        (x, y, z) for x, y, z in unshielded if x < z and not (forbidden[x, y] or forbidden[z, y])
    ]
    sets = {
        (x, z): {*subsets(neighbours[x], largest), *subsets(neighbours[z], largest)}
        for x, _, z in candidates
    }
    p_value = ask(test, ((x, z, *given) for (x, z), some in sets.items() for given in some))
    strength = {}
    for x, y, z in candidates:
        # (p without y, p with y) for each set and the same set with y in it
        pairs = [
            (p_value[x, z, *(s for s in given if s != y)], p_value[x, z, *given])
            for given in sets[x, z]
            if y in given
        ]
        without, given_y = (max(p) for p in zip(*pairs, strict=True))
        if without > given_y and (alpha is None or confirmed(pairs, alpha)):
            strength[x, y, z] = given_y
    for x, y, z in sorted(strength, key=strength.__getitem__):
        if not (leads_to(graph, y, x) or leads_to(graph, y, z)):
            graph[y, x] = graph[y, z] = False
    return graph


def confirmed(pairs: list[tuple[float, float]], alpha: float) -> bool:
    """Return whether dependence appears with y rather than goes; pairs of p (without y, with y)."""
    appears = min((with_y for without, with_y in pairs if without > alpha), default=1.0)
    goes = min((without for without, with_y in pairs if with_y > alpha), default=1.0)
    return appears <= alpha and appears < goes


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
            if undirected(i, j) and undirected(i, k) and directed(j, m) and directed(k, m):
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
    directed = graph & ~graph.T
    seen, waiting = {start}, [start]
    while waiting:
        children = set(np.flatnonzero(directed[waiting.pop()]).tolist()) - seen
        seen |= children
        waiting.extend(children)
    return goal in seen


def triples(graph: np.ndarray) -> tuple[list[Triple], list[Triple]]:
    """Return the paths i, j, k whose ends are not adjacent, and those whose ends are.

    In causal-learn's order, which decides between colliders whose p-values are both 0.
    """
    pairs = np.concatenate([np.argwhere(graph), np.argwhere(graph.T & ~graph)])[:, ::-1].tolist()
    follow = defaultdict(list)
    for j, k in pairs:
        follow[j].append(k)
    adjacent = graph | graph.T
    paths = [(i, j, k) for i, j in pairs for k in follow[j] if k != i]
    unshielded = [path for path in paths if not adjacent[path[0], path[2]]]
    return unshielded, [path for path in paths if adjacent[path[0], path[2]]]


def subsets(items: list[int], largest: int) -> Iterator[tuple[int, ...]]:
    """Yield every subset of up to `largest` items."""
    sizes = range(min(len(items), largest) + 1)
    return chain.from_iterable(combinations(items, size) for size in sizes)


def ask(
    test: ConditionalTest, questions: Iterable[tuple[int, ...]]
) -> dict[tuple[int, ...], float]:
    """Return the p-value of each question (x, y, *S), asking those of one length together."""
    by_length = defaultdict(list)
    for question in questions:
        by_length[len(question)].append(question)
    answers: dict[tuple[int, ...], float] = {}
    for asked in by_length.values():
        answers |= zip(asked, test.p_values(np.array(asked)).tolist(), strict=True)
    return answers
