"""What is known beforehand about the directions, as two matrices."""

import numpy as np
from pydantic import BaseModel

from .orientation import directed_cycle

Edge = tuple[str, str]


class Knowledge(BaseModel, extra="forbid"):
    # Lists of columns from early to late: nothing late causes anything earlier.
    tiers: list[list[str]] = []
    # (cause, effect)
    required: list[Edge] = []
    forbidden: list[Edge] = []

    def columns(self) -> list[str]:
        """Return the columns it names, some of them more than once."""
        return [
            name
            for names in (*self.tiers, *self.required, *self.forbidden)
            for name in names
        ]


def read_knowledge(
    knowledge: Knowledge, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (forbidden, required), bool (p, p): i -> j must not be, must be."""
    check_columns(knowledge, names)
    number = {name: i for i, name in enumerate(names)}
    forbidden = np.zeros((len(names), len(names)), dtype=bool)
    required = forbidden.copy()
    for t, early in enumerate(knowledge.tiers):
        for late in knowledge.tiers[t + 1 :]:
            for cause in late:
                forbidden[number[cause], [number[name] for name in early]] = True
    for cause, effect in knowledge.forbidden:
        forbidden[number[cause], number[effect]] = True
    for cause, effect in knowledge.required:
        required[number[cause], number[effect]] = True
    check_required(forbidden, required, names)
    return forbidden | required.T, required


def check_columns(knowledge: Knowledge, names: list[str]) -> None:
    """Refuse columns that the table lacks, or that stand where they can't."""
    for name in knowledge.columns():
        if name not in names:
            raise ValueError(f"knowledge: the table has no column {name!r:.80}")
    for cause, effect in knowledge.required + knowledge.forbidden:
        if cause == effect:
            raise ValueError(f"knowledge: {cause!r:.80} can't cause itself; drop that")
    in_tiers = [name for tier in knowledge.tiers for name in tier]
    for name in in_tiers:
        if in_tiers.count(name) > 1:
            raise ValueError(f"knowledge: {name!r:.80} is in two tiers; keep one")


def check_required(
    forbidden: np.ndarray, required: np.ndarray, names: list[str]
) -> None:
    """Refuse required edges that are forbidden, or that make a cycle."""
    for i, j in np.argwhere(required & forbidden):
        raise ValueError(
            f"knowledge: {names[i]!r:.40} -> {names[j]!r:.40} is required, and "
            "forbidden by an edge or a tier; drop one"
        )
    cycle = directed_cycle(required)
    if cycle:
        path = " -> ".join(names[i] for i in cycle)
        raise ValueError(f"knowledge: the required edges make the cycle {path:.80}")


def check_directions(graph: np.ndarray, names: list[str]) -> None:
    """Refuse knowledge that makes a cycle of the edges that the data keep."""
    cycle = directed_cycle(graph & ~graph.T)
    if cycle:
        path = " -> ".join(names[i] for i in cycle)
        raise ValueError(
            f"knowledge: with what the data keep it makes the cycle {path:.80}"
        )
