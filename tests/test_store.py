"""The store: made whole or not at all, and named when it can't be used."""

import os
import sqlite3
import subprocess
import sys

from shared.recipes import ROOT, CookbookError, find
from shared.smoke import ask_elsewhere
from shared.store import open_store, use_store

import mlflow
import pytest

from tests.conftest import environment


def test_a_store_is_absent_until_it_is_whole(tmp_path, monkeypatch):
    """It is moved, not copied, into place: a copy is there in part for a moment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.setattr(os, "replace", lambda new, file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        use_store("circle_area")
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.parametrize(
    "content, message",
    [(b"junk" * 1000, "not a database"), (b"", "no such table")],
    ids=["junk", "empty"],
)
def test_a_file_that_is_no_store_is_named_and_left_alone(
    content, message, tmp_path, monkeypatch
):
    file = tmp_path / "runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    file.write_bytes(content)
    for use in (open_store, lambda: use_store("circle_area")):
        with pytest.raises(CookbookError, match=message) as error:
            use()
        assert str(error.value).startswith(f"{file}: ")
    assert file.read_bytes() == content


def test_a_moved_store_finds_its_artifacts(tmp_path, new_store):
    """In processes of their own: MLflow remembers what it read of a store."""
    before, after = tmp_path / "a b", tmp_path / "c"
    new_store(before / "runs.db")
    log = [sys.executable, str(ROOT / "recipes/circle_area/driver.py")]
    load = "from shared.recipes import find, newest_model as newest; import mlflow; "
    load += "mlflow.pyfunc.load_model(newest(find('circle_area')))"
    for folder, command in ((before, log), (after, [sys.executable, "-c", load])):
        if folder == after:
            before.rename(after)
        variables = environment(ROOT, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/runs.db")
        subprocess.run(command, env=variables, check=True)


def test_artifacts_kept_elsewhere_stay_there(tmp_path, empty_store):
    for folder in ("artifacts", "own"):
        (tmp_path / folder).mkdir()
    unused = tmp_path / "server" / "1"  # of MLflow's own server: no run yet, no folder
    elsewhere = ["s3://bucket/artifacts", (tmp_path / "own").as_uri(), unused.as_uri()]
    client = mlflow.MlflowClient(f"sqlite:///{empty_store}")
    for address in elsewhere:
        client.create_experiment(address, address)
    assert open_store()
    query = "SELECT artifact_location FROM experiments"
    kept = sqlite3.connect(empty_store).execute(query)
    assert {*elsewhere} <= {address for (address,) in kept}


@pytest.mark.usefixtures("empty_store")
def test_a_pickled_model_is_refused(tmp_path):
    code = "from mlflow.pyfunc import PythonModel, save_model\n"
    code += "save_model('m', python_model=PythonModel(), pip_requirements=[])"
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=True)
    with pytest.raises(CookbookError, match="using pickle is disallowed"):
        ask_elsewhere(find("circle_area"), str(tmp_path / "m"))
