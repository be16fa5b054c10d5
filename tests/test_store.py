"""The store survives what happens to it, and a model runs only as it was logged."""

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

from shared.new import new
from shared.recipes import Recipe, find
from shared.run import born, end_dead_runs
from shared.smoke import score_elsewhere, smoke
from shared.store import Unusable, checked_copy, newest_model, open_store, use_store

import mlflow
import pytest

from tests.conftest import environment


@pytest.fixture
def store(tmp_path, monkeypatch, new_store):
    """The file of a store of its own, made."""
    new_store(file := tmp_path / "100%#1/runs.db")  # as no part of an address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    use_store("circle_area")
    return file


def test_asking_creates_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    with pytest.raises(
        LookupError, match="nothing logged yet; make log RECIPE=circle_area"
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


HARMS = {  # what was done to the file: what is said of it
    "junk": (
        lambda file: file.write_bytes(b"no database" * 1000),
        "not a database; it is damaged",
    ),
    # SQLite itself notices a page that is gone, not a part of one.
    "cut": (
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        "is cut short; it is damaged",
    ),
    "empty": (
        lambda file: file.write_bytes(b""),
        "it is not a store of MLflow: restore it",
    ),
    "newer": (
        lambda file: schema(file, "f00"),
        "schema is newer than MLflow .*: use the MLflow",
    ),
    "older": (
        lambda file: schema(file, "728d730b5ebd"),
        "is older than .*mlflow db upgrade",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_store_that_cannot_be_used_is_named_and_left_alone(store, harm):
    HARMS[harm][0](store)
    before = store.read_bytes()
    for use in (open_store, lambda: use_store("circle_area")):
        with pytest.raises(Unusable, match=HARMS[harm][1]) as error:
            use()
        assert str(error.value).startswith(f"{store}: ") and "\n" not in str(
            error.value
        )
    assert store.read_bytes() == before


def schema(file, version: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [version])


def test_a_locked_store_is_said_to_be(store, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.1})
    )
    with closing(connect(store)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unusable, match="another process is writing to it"):
            open_store()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, new_store):
    """The folder of a starter with one logged model."""
    to = new(find("circle_area"), tmp_path_factory.mktemp("sealed") / "tank_volume")
    new_store(to / ".mlflow/mlflow.db")
    subprocess.run(
        [sys.executable, "driver.py"], cwd=to, env=environment(to), check=True
    )
    return to


@pytest.fixture
def model(sealed, tmp_path, monkeypatch):
    """(the recipe, the folder of its newest model), in a copy that a test may harm."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{sealed}/.mlflow/mlflow.db")
    recipe = Recipe(sealed)
    place = sealed / ".mlflow/artifacts/models" / newest_model(recipe)[8:] / "artifacts"
    shutil.copytree(place, tmp_path / "kept")
    yield recipe, place
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "kept", place)


@pytest.mark.parametrize(
    "file, how",
    {
        "model_code.py": "was changed",
        "sitecustomize.py": "is new",
        "MLmodel": "is missing",
    }.items(),
)
def test_a_model_that_was_changed_is_not_run(model, file, how):
    recipe, place = model
    assert smoke(recipe) == []
    if how == "is missing":
        (place / file).unlink()
    else:
        (place / file).write_text("raise SystemExit('ran')")
    with pytest.raises(LookupError, match=f"{file} {how} since it was logged"):
        smoke(recipe)


def test_a_list_that_was_changed_too_is_noticed_and_caches_stay_behind(model, tmp_path):
    recipe, place = model
    (place / "__pycache__").mkdir()
    (place / "__pycache__/model_code.cpython-311.pyc").write_bytes(b"planted")
    copy = checked_copy(newest_model(recipe), str(tmp_path))
    assert (copy / "model_code.py").is_file() and not [*copy.rglob("__pycache__")]
    (listed,) = recipe.path.glob(".mlflow/artifacts/*/artifacts/sha256/*.json")
    text = listed.read_text()
    listed.write_text(json.dumps({**json.loads(text), "model_code.py": "0" * 64}))
    with pytest.raises(LookupError, match="the list of its files was changed"):
        smoke(recipe)
    listed.unlink()
    with pytest.raises(LookupError, match="its files are gone"):
        smoke(recipe)
    listed.write_text(text)


def test_a_pickled_model_is_refused(model, tmp_path):
    code = "from mlflow.pyfunc import PythonModel, save_model\n"
    code += "save_model('m', python_model=PythonModel(), pip_requirements=[])"
    words = [sys.executable, "-c", code]
    subprocess.run(words, cwd=tmp_path, env=environment(tmp_path), check=True)
    with pytest.raises(RuntimeError, match="using pickle is disallowed"):
        score_elsewhere(model[0], str(tmp_path / "m"))


def test_runs_of_processes_that_died_end_as_failed_at_the_next_log(
    sealed, tmp_path, new_store
):
    """One that was killed, and one that still runs; the model that was being logged too."""
    code = """
import sys, time
from shared.run import recipe_run
import mlflow
with recipe_run(sys.argv[1], ""):
    mlflow.initialize_logged_model("tank_volume")
    print("open", flush=True)
    time.sleep(60)
"""
    new_store(tmp_path / "runs.db")
    alone = environment(sealed, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/runs.db")
    words = [sys.executable, "-c", code, driver := str(sealed / "driver.py")]
    with (
        subprocess.Popen(words, env=alone, stdout=-1) as killed,
        subprocess.Popen(words, env=alone, stdout=-1) as alive,
    ):
        assert [process.stdout.readline() for process in (killed, alive)] == [
            b"open\n"
        ] * 2
        killed.kill()  # nobody takes leave of it yet
        done = subprocess.run(
            [sys.executable, driver], env=alone, capture_output=True, text=True
        )
        assert alive.poll() is None
        alive.terminate()
    assert done.stdout.count("was left by a process that died: marked as failed") == 1
    assert alive.returncode == 143
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        asked = [
            f"SELECT status FROM {t} ORDER BY status" for t in ("runs", "logged_models")
        ]
        ends = [[status for (status,) in database.execute(words)] for words in asked]
    assert ends == [["FAILED", "FAILED", "FINISHED"], [2, 3, 3]], (
        "of models READY, FAILED, FAILED"
    )


def test_a_run_of_another_machine_is_left_and_one_whose_id_was_given_out_again_ends(
    store,
):
    assert len(born(os.getpid())) > 3, "a time, not a small number beside it"
    client, me = mlflow.MlflowClient(), f"{platform.node()} {os.getpid()}"
    processes = [f"elsewhere {os.getpid()} 1", f"{me} 1", f"{me} {born(os.getpid())}"]
    experiment = use_store("circle_area")
    runs = [client.create_run(experiment, tags={"process": text}) for text in processes]
    end_dead_runs(experiment)
    ends = [client.get_run(run.info.run_id).info.status for run in runs]
    assert ends == ["RUNNING", "FAILED", "RUNNING"]
