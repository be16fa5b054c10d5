"""What is known beforehand about the directions, as two matrices."""

from typing import Any

import numpy as np

from .orientation import directed_cycle


def read_knowledge(
    names: list[str], knowledge: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (forbidden, required), bool (p, p): i -> j must not be, must be in the graph.

    `knowledge` may hold `tiers`, lists of columns from early to late (nothing late causes anything
    earlier; columns may be left out), and `required` and `forbidden`, lists of [cause, effect].
    Raises ValueError for unknown columns and for contradictions.
    """
    number = {name: i for i, name in enumerate(names)}
    forbidden = np.zeros((len(names), len(names)), dtype=bool)
    required = forbidden.copy()
    if unknown := set(knowledge) - {"tiers", "required", "forbidden"}:
        raise ValueError(
            f"knowledge: {unknown.pop()!r:.80} is none of tiers, required, forbidden"
        )
    for part, lists in knowledge.items():
        for columns in lists if isinstance(lists, list | tuple) else [lists]:
            if not isinstance(columns, list | tuple) or lists is columns:
                raise ValueError(
                    f"knowledge, {part}: give lists of column names; got {columns!r:.80}"
                )
            for name in columns:
                if not isinstance(name, str) or name not in number:
                    raise ValueError(
                        f"knowledge, {part}: the table has no column {name!r:.80}"
                    )
            if part != "tiers" and (len(columns) != 2 or columns[0] == columns[1]):
                raise ValueError(
                    f"knowledge, {part}: {columns!s:.80} is not [cause, effect]"
                )
    tier: dict[str, int] = {}
    for t, columns in enumerate(knowledge.get("tiers", [])):
        for name in columns:
            if tier.setdefault(name, t) != t:
                raise ValueError(f"knowledge: {name!r:.80} is in two tiers")
    for late, early in ((a, b) for a in tier for b in tier if tier[a] > tier[b]):
        forbidden[number[late], number[early]] = True
    for cause, effect in knowledge.get("forbidden", []):
        forbidden[number[cause], number[effect]] = True
    for cause, effect in knowledge.get("required", []):
        required[number[cause], number[effect]] = True
        if forbidden[number[cause], number[effect]]:
            raise ValueError(
                f"knowledge: {cause!r:.40} -> {effect!r:.40} is required, forbidden"
            )
    if cycle := directed_cycle(required):
        path = " -> ".join(names[i] for i in cycle)
        raise ValueError(f"knowledge: the required edges make the cycle {path:.80}")
    return forbidden | required.T, required
