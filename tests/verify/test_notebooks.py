"""Each notebook runs in its starter: it writes the model, logs it and prints it."""

import re

from shared.new import NEUTRAL, write_starter

import pytest

pytestmark = pytest.mark.verify


def test_notebook(recipe, tmp_path, monkeypatch):
    import nbformat  # the site's environment has them
    from nbclient import NotebookClient

    from docs import notebook

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = write_starter(recipe, tmp_path / NEUTRAL)
    (folder / "model_code.py").unlink()
    book = nbformat.reads(notebook.made(recipe), as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=600, resources=where).execute()
    printed = "".join(
        out.get("text", "") for cell in book.cells for out in cell.get("outputs", [])
    )
    assert "models:/m-" in printed
    assert (folder / ".mlflow" / "mlflow.db").is_file()
    page = (recipe.path / "README.md").read_text(encoding="utf-8")
    (result,) = re.findall(r"^result .*", page, re.M)
    assert result in printed
