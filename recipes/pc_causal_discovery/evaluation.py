"""How far a discovered graph is from the true one, in numbers and as a picture."""

from typing import Any

import numpy as np
import pandas as pd
from causallearn.graph.Dag import Dag
from causallearn.graph.GraphNode import GraphNode
from causallearn.utils.DAG2CPDAG import dag2cpdag
from matplotlib.figure import Figure

BLUE, GREY, ORANGE = (
    "#0072B2",
    "#999999",
    "#D55E00",
)  # Okabe & Ito: apart for every kind of sight


def cpdag(names: list[str], arrows: list[tuple[str, str]]) -> pd.DataFrame:
    """Return the edges (from, to, type) that data can tell of the graph with these arrows at best.

    Arrows that may be reversed without changing any independence become undirected.
    """
    nodes = {name: GraphNode(name) for name in names}
    dag = Dag(list(nodes.values()))
    for cause, effect in arrows:
        dag.add_directed_edge(nodes[cause], nodes[effect])
    graph = dag2cpdag(dag)
    rows = [
        (
            cause,
            effect,
            "directed"
            if graph.is_parent_of(nodes[cause], nodes[effect])
            else "undirected",
        )
        for cause, effect in arrows
    ]
    return pd.DataFrame(rows, columns=["from", "to", "type"])


def compare(found: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Return `SHD`, `precision`, `recall` and `edges` of `found`; both tables from, to, type.

    SHD, the structural Hamming distance, counts the pairs that differ in any way: edge missing,
    superfluous, of another type or direction. Precision and recall are of edges, their ends apart.
    """
    got, want = marks(found), marks(truth)
    both = len(got.keys() & want.keys())
    return {
        "SHD": sum(
            got.get(pair) != want.get(pair) for pair in got.keys() | want.keys()
        ),
        "precision": both / len(got) if got else 1.0,
        "recall": both / len(want) if want else 1.0,
        "edges": len(got),
    }


def marks(edges: pd.DataFrame) -> dict[frozenset[str], str]:
    """Return for each adjacent pair the column that its edge points to, or "" if undirected."""
    return {
        frozenset((row["from"], row["to"])): row["to"]
        if row["type"] == "directed"
        else ""
        for row in edges.to_dict("records")
    }


def draw(
    names: list[str], found: pd.DataFrame, truth: pd.DataFrame, title: str
) -> Figure:
    """Return a drawing of `found`: edges of the truth blue, others orange, missed ones grey."""
    got, want = marks(found), marks(truth)
    groups = {
        "found, in the reference": (
            BLUE,
            "solid",
            2.5,
            {p: got[p] for p in got if p in want},
        ),
        "found, not in it": (
            ORANGE,
            "solid",
            2.5,
            {p: got[p] for p in got if p not in want},
        ),
        "in it, not found": (
            GREY,
            "dashed",
            1.5,
            {p: want[p] for p in want if p not in got},
        ),
    }
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    place = dict(
        zip(names, zip(np.cos(angles), np.sin(angles), strict=True), strict=True)
    )
    figure = Figure(figsize=(9, 7), dpi=100, layout="constrained")
    axes = figure.subplots()
    for label, (colour, style, width, edges) in groups.items():
        line: dict[str, Any] = {"color": colour, "linestyle": style, "linewidth": width}
        axes.plot([], [], label=f"{label} ({len(edges)})", **line)
        for pair, head in edges.items():
            end = head or min(pair)
            (start,) = pair - {end}
            shape = "-|>,head_width=.5,head_length=.9" if head else "-"
            arrow = {
                **line,
                "arrowstyle": shape,
                "shrinkA": 24,
                "shrinkB": 24,
            }  # off the circles
            axes.annotate("", place[end], place[start], arrowprops=arrow)
    for name, (x, y) in place.items():
        axes.plot(x, y, "o", markersize=46, color="white", markeredgecolor="black")
        axes.text(x, y, name, ha="center", va="center", fontsize=12)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=11)
    axes.set_title(title)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.margins(0.15)
    return figure
