"""Charts of kept measurements, as SVG in the page's colours: docs/charts.yml.

Places across are per cent and text isn't scaled, so a chart fits a phone and a screen.
"""

import html
import json
import math
from typing import Any

from shared import CookbookError

import pandas as pd
import yaml
from matplotlib.ticker import MaxNLocator

from benchmarks.report import RESULTS
from docs.files import DOCS, read, translated

SPECS = yaml.safe_load((DOCS / "charts.yml").read_text(encoding="utf-8"))
# A series is known by its shape too, where colours can't be told apart.
SHAPES = (
    '<circle r="5.5"/>',
    '<path d="M-5-5H5V5H-5z"/>',
    '<path d="M0-7L7 5H-7z"/>',
)
ROW, TOP, LEFT, RIGHT = 38, 8, 3, 97


def charts(name: str, locale: str) -> dict[str, str]:
    """Return the charts of benchmarks/results/<name>.json by their table's title."""
    drawn = {}
    for title, spec in SPECS.get(name, {}).items():
        kept = json.loads(read(RESULTS / f"{name}.json", f"make bench RECIPE={name}"))
        rows = kept["tables"][title]
        labels = [spec["label"].format(**row) for row in rows]
        table = pd.DataFrame(rows, labels)[spec["columns"]].apply(pd.to_numeric)
        if not eval(spec["holds"], {"t": table}):
            raise CookbookError(f"docs/charts.yml, {title}: the sentence doesn't hold")
        drawing = figure(table, translated(title, locale), spec)
        drawn[title] = f"{spec[locale]}\n\n{drawing}"
    return drawn


def figure(table: pd.DataFrame, title: str, spec: dict[str, Any]) -> str:
    """Return the chart with its legend."""
    keys = [
        f'<span class="s{number}"><svg viewBox="-8 -8 16 16">{SHAPES[number]}</svg>'
        f"<span>{html.escape(str(column))}</span></span>"
        for number, column in enumerate(table)
    ]
    legend = f"<figcaption>{' '.join(keys)}</figcaption>"
    drawing = dots(table, html.escape(title), spec.get("log", False))
    return f'<figure class="chart" data-search-exclude>{legend}{drawing}</figure>'


def dots(table: pd.DataFrame, title: str, logarithmic: bool) -> str:
    """Return the table as SVG: a line for each row, a mark for each column."""
    values = table.map(math.log10) if logarithmic else table
    low = values.min().min() if logarithmic else min(values.min().min(), 0)
    ruler = MaxNLocator(5, steps=[1, 2, 5, 10], integer=logarithmic)
    marks = ruler.tick_values(low, values.max().max())

    def across(value: float) -> str:
        share = (value - marks[0]) / (marks[-1] - marks[0])
        return f"{LEFT + (RIGHT - LEFT) * share:.1f}%"

    bottom = TOP + ROW * len(table)
    parts = []
    for mark in marks:
        x, text = across(mark), f"{10**mark if logarithmic else mark:,.4g}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}">{text}</text>')
    for number, (label, row) in enumerate(values.iterrows()):
        y = TOP + ROW * number
        text = html.escape(str(label).replace("`", ""))
        line = f'x1="{LEFT}%" x2="{RIGHT}%" y1="{y + 26}" y2="{y + 26}"'
        parts.append(f"<line {line}/>")
        parts.append(f'<text x="{LEFT}%" y="{y + 14}">{text}</text>')
        for series, value in enumerate(row):
            if not math.isnan(value):
                place = f'x="{across(value)}" y="{y + 26}" class="s{series}"'
                parts.append(f"<svg {place}>{SHAPES[series]}</svg>")
    head = f'<svg role="img" aria-label="{title}" height="{bottom + 22}">'
    return f"{head}{''.join(parts)}</svg>"
