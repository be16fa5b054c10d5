"""A recipe's starter as a notebook: its prose, the model, the driver cell by cell."""

import ast
import base64
import re
import textwrap

from shared.new import NEUTRAL, starter
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
    """Return the cells of a script; the body of its main() is laid open."""
    tree, lines, found = ast.parse(source), source.splitlines(), []

    def add(body: list[ast.stmt], start: int) -> None:
        block: list[str] = []
        for node in body:
            piece = textwrap.dedent("\n".join(lines[start : node.end_lineno]))
            start = node.end_lineno or start
            own = isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.With))
            comment, rest = [], piece.strip("\n").splitlines()
            while own and rest and rest[0].startswith("#"):
                comment.append(rest.pop(0).lstrip("# "))
            if own or piece.startswith("\n"):
                found.extend([new_code_cell("\n".join(block).strip())] if block else [])
                block = []
            if comment:
                found.append(new_markdown_cell(" ".join(comment)))
            block.extend(rest)
            if own:
                found.append(new_code_cell("\n".join(block)))
                block = []
        if block:
            found.append(new_code_cell("\n".join(block).strip()))

    main = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"
    )
    before = [node for node in tree.body[1:] if node.lineno < main.lineno]
    after = [
        n for n in tree.body if n.lineno > main.lineno and not isinstance(n, ast.If)
    ]
    add(before, tree.body[0].end_lineno or 0)
    add(after, main.end_lineno or 0)
    add(main.body, main.body[0].lineno - 1)
    return found


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
    files = starter(recipe, NEUTRAL)
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
