"""The store: made whole or not at all, and named when it can't be used."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

from shared.recipes import ROOT, CookbookError, find, newest_model
from shared.smoke import answer
from shared.store import open_store, use_store

import pytest

from tests.conftest import environment


@pytest.fixture
def store(tmp_path, monkeypatch, new_store):
    """The file of a store of its own; an address would escape its folder's name."""
    new_store(file := tmp_path / "100%#1/runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    return file


def test_asking_creates_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    with pytest.raises(
        CookbookError, match="nothing logged yet; make log RECIPE=circle"
    ):
        newest_model(find("circle_area"))
    assert not open_store() and list(tmp_path.iterdir()) == []


def test_a_store_is_absent_until_it_is_whole(tmp_path, monkeypatch):
    """It is moved, not copied, into place: a copy is there in part for a moment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.setattr(os, "replace", lambda new, file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        use_store("circle_area")
    assert not (tmp_path / "runs.db").exists()


def set_schema(file, version: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [version])


FAULTS = {  # what was done to the file, and what the error says
    "junk": (
        lambda file: file.write_bytes(b"junk" * 1000),
        "not a database",
    ),
    "cut": (
        lambda file: file.write_bytes(file.read_bytes()[:9000]),
        "malformed|i/o error",
    ),
    "empty": (lambda file: file.write_bytes(b""), "no such table"),
    "newer": (lambda file: set_schema(file, "f00"), "out-of-date database schema"),
    "older": (lambda file: set_schema(file, "728d730b5ebd"), "out-of-date .* schema"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_cannot_be_used_is_named_and_left_alone(store, fault):
    harm, message = FAULTS[fault]
    harm(store)
    before = store.read_bytes()
    for use in (open_store, lambda: use_store("circle_area")):
        with pytest.raises(CookbookError, match=message) as error:
            use()
        assert str(error.value).startswith(f"{store}: ")
        assert "\n" not in str(error.value)
    assert store.read_bytes() == before


def test_a_moved_store_finds_its_artifacts(tmp_path, monkeypatch, new_store):
    """In processes of their own: MLflow remembers what it read of a store."""
    before, after = tmp_path / "a b", tmp_path / "c"
    new_store(before / "runs.db")
    for folder in (before, after):
        if folder == after:
            before.rename(after)
        env = environment(ROOT, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/runs.db")
        driver = ROOT / "recipes/circle_area/driver.py"
        newest = "from shared.recipes import find, newest_model; "
        newest += "print(newest_model(find('circle_area')))"
        if folder == before:
            subprocess.run([sys.executable, driver], env=env, check=True)
        uri = subprocess.check_output(
            [sys.executable, "-c", newest], env=env, text=True
        )
        load = f"import mlflow; mlflow.pyfunc.load_model('{uri.strip()}')"
        subprocess.run([sys.executable, "-c", load], env=env, check=True)


def test_a_pickled_model_is_refused(tmp_path):
    code = "from mlflow.pyfunc import PythonModel, save_model\n"
    code += "save_model('m', python_model=PythonModel(), pip_requirements=[])"
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=True)
    with pytest.raises(CookbookError, match="using pickle is disallowed"):
        answer(find("circle_area"), str(tmp_path / "m"))
