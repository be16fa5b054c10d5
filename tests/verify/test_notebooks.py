"""Each driver as a notebook runs, and prints what the driver prints."""

import pytest

pytestmark = pytest.mark.verify("notebook")


def test_notebook(recipe, tmp_path, monkeypatch):
    import nbformat  # the site's environment has them
    from nbclient import NotebookClient

    from docs import notebook

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    book = nbformat.reads(notebook.made(recipe), as_version=4)
    where = {"metadata": {"path": str(recipe.path)}}
    NotebookClient(book, timeout=600, resources=where).execute()
    printed = "".join(
        out.get("text", "") for cell in book.cells for out in cell.get("outputs", [])
    )
    assert "models:/m-" in printed
