"""A recipe's driver as a notebook: comments and docstrings become text."""

import ast
import textwrap

from shared.recipes import Recipe

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

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


def made(recipe: Recipe) -> str:
    """Return the notebook's text; it runs in the recipe's folder or its starter's."""
    source = (recipe.path / "driver.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(source)) or ""
    text = (
        f"# {recipe.front_matter['title']}\n\n{said}\n\nThe driver, cell by cell. Put "
        "this file beside `driver.py`, in the recipe's folder or in its starter, and "
        "start Jupyter in the "
        "environment that `make` set up there."
    )
    start = f"{START}\n__doc__ = {said!r}" if "__doc__" in source else START
    book = new_notebook(
        cells=[new_markdown_cell(text), new_code_cell(start), *cells(source)]
    )
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"  # else another one in each build
    return str(nbformat.writes(book))
