"""A recipe's starter as a notebook: its prose, the model, the driver cell by cell."""

import ast
import base64
import re
import textwrap

from shared.new import NEUTRAL, starter_files
from shared.recipes import Recipe

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

HOW = """Unpack the starter `{recipe}.zip` and put this notebook into its folder
`{folder}`. There, start Jupyter in the environment that `make` sets up:

```bash
make log
.venv/bin/pip install jupyterlab
.venv/bin/jupyter lab {recipe}.ipynb
```"""

START = """import sys
from pathlib import Path

# a notebook has none; the driver's paths start from it
__file__ = str(Path("driver.py").resolve())
sys.path.insert(0, str(Path(__file__).parent))"""


def cells(source: str) -> list[nbformat.NotebookNode]:
    """Return a driver as cells, the body of its main() laid open around `with`."""
    tree, lines = ast.parse(source), source.splitlines()
    main = next(node for node in tree.body if getattr(node, "name", "") == "main")
    assert isinstance(main, ast.FunctionDef)
    ranges: list[tuple[int | None, int | None]] = [
        (tree.body[0].end_lineno, main.lineno - 1),
        (main.end_lineno, tree.body[-1].lineno - 1),
    ]
    start: int | None = main.lineno
    for node in main.body:
        if isinstance(node, ast.With):
            ranges += [(start, node.lineno - 1), (node.lineno - 1, node.end_lineno)]
            start = node.end_lineno
    ranges.append((start, main.end_lineno))
    texts = [textwrap.dedent("\n".join(lines[a:b])).strip() for a, b in ranges]
    return [new_code_cell(text) for text in texts if text]


def prose(recipe: Recipe) -> str:
    """Return what the README says before it is about copying, as text alone."""
    text = (recipe.path / "README.md").read_text(encoding="utf-8")
    text = text.split("\n---\n", 1)[1].partition("\n## When you copy it")[0]
    text = re.sub(r"^```bash\nmake log .*?```$", "", text, flags=re.M | re.S)
    text = re.sub(r"^<!--.*?-->$(\n```text\n.*?^```$)?", "", text, flags=re.M | re.S)
    text = re.sub(r"\[([^\]]+)\]\((?!http)[^)]*\)", r"\1", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def made(recipe: Recipe, printed: str = "", ran: str = "", drawn: bytes = b"") -> str:
    """Return the starter's notebook; it runs in the folder of the starter.

    `printed` is what the driver printed when it `ran`, `drawn` a JPEG that it logged.
    """
    files = starter_files(recipe, NEUTRAL)
    driver, model = (files[name].decode() for name in ("driver.py", "model_code.py"))
    said = ast.get_docstring(ast.parse(driver)) or ""
    start = f"{START}\n__doc__ = {said!r}" if "__doc__" in driver else START
    how = HOW.format(recipe=recipe.name, folder=NEUTRAL)
    book = new_notebook(
        cells=[
            new_markdown_cell(f"# {recipe.front_matter['title']}\n\n{how}"),
            new_markdown_cell(prose(recipe)),
            new_markdown_cell("## The model\n\nThe cell writes its file."),
            new_code_cell(f"%%writefile model_code.py\n{model.rstrip()}"),
            new_markdown_cell("## Log it\n\nThe driver, cell by cell."),
            new_code_cell(start),
            *cells(driver),
        ]
    )
    if printed:
        last = next(c for c in reversed(book.cells) if c.cell_type == "code")
        last.outputs = [new_output("stream", text=f"{printed}\n")]
        book.cells.append(
            new_markdown_cell(f"Shown is what `make log-all` printed {ran}.")
        )
    if drawn:
        cell = new_markdown_cell("It logged this picture:\n\n![](attachment:run.jpg)")
        encoded = base64.b64encode(drawn).decode()
        cell["attachments"] = {"run.jpg": {"image/jpeg": encoded}}
        book.cells.append(cell)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"  # else another one in each build
    return str(nbformat.writes(book))
