"""How a recipe is called: curl and Python as tabs, request and answer side by side."""

import json
import re
from typing import Any

from shared import CookbookError
from shared.recipes import Recipe

CALL = re.compile(
    r"^(```bash\ncurl --json .+\n```)"
    r"(?:\n\n(?:[^`\n]+\n\n)?(```python\n[^`]*/invocations[^`]*```))?$",
    re.M,
)
ROWS = ("index", "data", "predictions", "entries")
WIDTH = 56  # characters that fit into half a page


def call(recipe: Recipe, body: str) -> str:
    """Return the page's body with its curl line and its Python client as tabs.

    A translation without a client has the README's. Below stand the request and the
    known answer, which another process has given again before the site is built.
    """
    readme = CALL.search((recipe.path / "README.md").read_text(encoding="utf-8"))
    request, answer = recipe.json("request.json"), recipe.json("response.json")
    answer.pop("tolerance", None)
    sides = [block("request.json", request), block("response.json", answer)]
    pair = "\n\n".join(['<div class="grid" markdown>', *sides, "</div>"])

    def tabs(found: re.Match[str]) -> str:
        client = found[2] or (readme and readme[2]) or ""
        shown = [f'=== "curl"\n\n{indented(found[1])}']
        shown.append(f'=== "Python"\n\n{indented(client)}')
        return "\n\n".join([*shown, pair])

    body, count = CALL.subn(tabs, body)
    if count != 1:
        raise CookbookError(f"{recipe.name}: one block with a line of curl is wanted")
    return body


def indented(text: str) -> str:
    return re.sub("^(?=.)", "    ", text, flags=re.M)


def block(title: str, value: Any) -> str:
    """Return JSON as a block of code; one that is shortened can't be copied."""
    short = shortened(value)
    if short == value:
        return f'```json title="{title}"\n{layout(short)}\n```'
    return f'``` {{.json .no-copy title="{title}, shortened"}}\n{layout(short)}\n```'


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


def layout(value: Any, indent: int = 0) -> str:
    """Return the value as JSON; what fits on a line stands on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not isinstance(value, dict | list):
        return flat
    inner = indent + 2
    if isinstance(value, dict):
        parts = [f'"{key}": {layout(each, inner)}' for key, each in value.items()]
    else:
        parts = [layout(each, inner) for each in value]
    text = f",\n{' ' * inner}".join(parts)
    first, last = flat[0], flat[-1]
    return f"{first}\n{' ' * inner}{text}\n{' ' * indent}{last}"
