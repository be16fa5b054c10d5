"""How a recipe is called: curl and Python as tabs, request and answer side by side."""

import json
import re
from textwrap import indent
from typing import Any

from shared import CookbookError
from shared.recipes import Recipe

from docs.files import translated

CALL = re.compile(
    r"^(```bash\ncurl --json .+\n```)"
    r"(?:\n\n(?:[^`\n]+\n\n)?(```python\n[^`]*/invocations[^`]*```))?$",
    re.M,
)
ROWS = ("index", "data", "predictions", "entries")
WIDTH = 56  # characters that fit into half a page
INSET = "    "


def call(recipe: Recipe, body: str, locale: str) -> str:
    """Return the page's body with its curl line and its Python client as tabs.

    A translation without a client has the README's. Below stand the request and the
    known answer, which another process has given again before the site is built.
    """
    readme = (recipe.path / "README.md").read_text(encoding="utf-8")
    ours, english = CALL.search(body), CALL.search(readme)
    if not ours or not english:
        raise CookbookError(f"{recipe.name}: a block with a line of curl is wanted")
    answer = recipe.json("response.json")
    answer.pop("tolerance", None)
    parts = [
        f'=== "curl"\n\n{indent(ours[1], INSET)}',
        f'=== "Python"\n\n{indent(ours[2] or english[2], INSET)}',
        '<div class="grid" markdown>',
        block("request.json", recipe.json("request.json"), locale),
        block("response.json", answer, locale),
        "</div>",
    ]
    return body.replace(ours[0], "\n\n".join(parts))


def block(title: str, value: Any, locale: str) -> str:
    """Return JSON as a block of code; one that is shortened can't be copied."""
    short = shortened(value)
    if short == value:
        return f'```json title="{title}"\n{layout(short)}\n```'
    title = translated(f"{title}, shortened", locale)
    return f'``` {{.json .no-copy title="{title}"}}\n{layout(short)}\n```'


def shortened(value: Any) -> Any:
    """Return the value with its first rows only, and the beginning of long texts."""
    if isinstance(value, str) and len(value) > 400:
        return f"{value[:24]}…"
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if not isinstance(value, dict):
        return value
    cut = {
        key: [*rows[:2], "…"] if key in ROWS and len(rows) > 4 else rows
        for key, rows in value.items()
    }
    return {key: shortened(each) for key, each in cut.items()}


def layout(value: Any) -> str:
    """Return the value as JSON; an innermost list or object stands on one line."""

    def joined(found: re.Match[str]) -> str:
        flat = re.sub(r"(?<=[\[{])\s+|\s+(?=[]}])", "", found[0])
        flat = re.sub(r"\n\s*", " ", flat)
        return flat if len(flat) <= WIDTH else found[0]

    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r"[\[{][^\[\]{}]*[]}]", joined, text)
