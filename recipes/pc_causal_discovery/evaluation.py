"""How far a discovered graph is from the true one, in numbers and as a picture."""

from typing import Any

import numpy as np
import pandas as pd
from causallearn.graph.Dag import Dag
from causallearn.graph.GraphNode import GraphNode
from causallearn.utils.DAG2CPDAG import dag2cpdag
from matplotlib.figure import Figure

# Three colours of Okabe and Ito, which colour-blind readers tell apart.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#999999"


def cpdag(names: list[str], arrows: list[tuple[str, str]]) -> pd.DataFrame:
    """Return the edges (from, to, type) of the CPDAG of the graph with these arrows.

    It is the most that independences can tell: arrows that may be reversed without
    changing any independence are undirected.
    """
    nodes = {name: GraphNode(name) for name in names}
    dag = Dag(list(nodes.values()))
    for cause, effect in arrows:
        dag.add_directed_edge(nodes[cause], nodes[effect])
    graph = dag2cpdag(dag)
    rows = []
    for cause, effect in arrows:
        directed = graph.is_parent_of(nodes[cause], nodes[effect])
        rows.append((cause, effect, "directed" if directed else "undirected"))
    return pd.DataFrame(rows, columns=["from", "to", "type"])


def compare(edges: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Return `SHD`, `precision`, `recall` and `edges`; both tables have from, to, type.

    SHD, the structural Hamming distance, counts the pairs of columns whose edge is
    missing, superfluous, or of another type or direction. Precision and recall are
    those of the skeleton: an edge counts whichever way it points.
    """
    discovered = marks(edges)
    expected = marks(truth)
    pairs = discovered.keys() | expected.keys()
    shared = discovered.keys() & expected.keys()
    return {
        "SHD": sum(discovered.get(pair) != expected.get(pair) for pair in pairs),
        "precision": len(shared) / len(discovered) if discovered else 1.0,
        "recall": len(shared) / len(expected) if expected else 1.0,
        "edges": len(discovered),
    }


def marks(edges: pd.DataFrame) -> dict[frozenset[str], str]:
    """Return the column that the edge of each pair points to, "" if undirected."""
    heads = {}
    for row in edges.to_dict("records"):
        head = row["to"] if row["type"] == "directed" else ""
        heads[frozenset((row["from"], row["to"]))] = head
    return heads


def draw(
    names: list[str], edges: pd.DataFrame, truth: pd.DataFrame, title: str
) -> Figure:
    """Return a drawing of edges in the truth (blue), others (orange), missed (grey)."""
    discovered = marks(edges)
    expected = marks(truth)
    right = {pair: discovered[pair] for pair in discovered if pair in expected}
    false = {pair: discovered[pair] for pair in discovered if pair not in expected}
    missed = {pair: expected[pair] for pair in expected if pair not in discovered}

    figure = Figure(figsize=(9, 7), dpi=100, layout="constrained")
    axes = figure.subplots()
    place = {}
    for number, name in enumerate(names):
        angle = 2 * np.pi * number / len(names)
        place[name] = (np.cos(angle), np.sin(angle))
    for label, colour, style, pairs in (
        ("found, in the reference", BLUE, "solid", right),
        ("found, not in it", ORANGE, "solid", false),
        ("in it, not found", GREY, "dashed", missed),
    ):
        line: dict[str, Any] = {"color": colour, "linestyle": style, "linewidth": 2.5}
        axes.plot([], [], label=f"{label} ({len(pairs)})", **line)  # for the legend
        for pair, head in pairs.items():
            end = head or min(pair)
            (start,) = pair - {end}
            shape = "-|>,head_width=.5,head_length=.9" if head else "-"
            # The line stops 24 points short of both centres, at the circles.
            arrow = line | {"arrowstyle": shape, "shrinkA": 24, "shrinkB": 24}
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
