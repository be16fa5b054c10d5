"""The way through the house: what a person types, on a checkout that was never used before."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.recipes import ROOT, WARNINGS, UnknownRecipe, discover, find
from shared.smoke import SCORE, differences
from tests.conftest import environment, make

RECIPES = discover()
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
pytestmark = pytest.mark.xdist_group("house")  # one log-all serves them all


def test_log_all_logs_every_recipe_without_a_warning(logged):
    checkout, done = logged
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((checkout / "build/log-all.json").read_text())
    assert [row["recipe"] for row in rows] == [recipe.name for recipe in RECIPES]
    for row in rows:
        assert row["status"] == "ok" and row["error"] is None and row["seconds"] > 0
        assert row["model_uri"] == f"models:/{row['model_id']}" and row["model_uri"] in done.stdout
        said = (checkout / f"build/log/{row['recipe']}.txt").read_text()
        assert not re.search("warning|deprecat", said + done.stderr, re.I), said


def test_log_all_tells_the_truth(logged):
    """What the JSON says was logged is in the store, READY, with an example and a finished run."""
    checkout, _ = logged
    store = sqlite3.connect(checkout / ".mlflow/mlflow.db")
    for row in json.loads((checkout / "build/log-all.json").read_text()):
        status = "SELECT status FROM runs WHERE run_uuid = ?"
        assert store.execute(status, [row["run_id"]]).fetchone() == ("FINISHED",)
        source = "SELECT source_run_id, name, artifact_location FROM logged_models WHERE model_id=?"
        run, name, place = store.execute(source, [row["model_id"]]).fetchone()
        assert (run, name) == (row["run_id"], row["recipe"])
        files = list((checkout / ".mlflow/artifacts/models" / row["model_id"]).rglob("*"))
        assert place.startswith("file://") and {"input_example.json", "MLmodel"} <= {
            file.name for file in files
        }
        assert not [file for file in files if file.suffix in (".pkl", ".pickle", ".joblib")]
    assert store.execute("SELECT count(*) FROM runs WHERE status != 'FINISHED'").fetchone() == (0,)
    assert not (checkout / "mlruns").exists()


@every_recipe
def test_readme_shows_what_the_driver_prints(logged, recipe):
    checkout, _ = logged
    block = re.search(
        r"<!-- output -->\n```text\n(.*?)\n```", (recipe.path / "README.md").read_text(), re.S
    )
    assert block, "README.md shows the output near its top"
    said = (checkout / f"build/log/{recipe.name}.txt").read_text()
    said_lines = {re.sub(r"\s+", " ", line).strip() for line in said.splitlines()}
    shown = [re.sub(r"\s+", " ", line).strip() for line in block[1].splitlines()]
    assert [line for line in shown if line and line not in said_lines] == []


def test_smoke_all_passes_and_sees_a_wrong_answer(logged):
    checkout, _ = logged
    done = make(checkout, "smoke-all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^\[\d/\d\] \w+ +ok", done.stdout, re.M)) == len(RECIPES)
    response = checkout / "recipes/circle_area/response.json"
    truth = response.read_text()
    try:
        response.write_text(truth.replace("3.14159", "3.15159"))
        wrong = make(checkout, "smoke", "RECIPE=circle_area")
    finally:
        response.write_text(truth)
    assert wrong.returncode != 0 and ".predictions[2].area: got 3.14159" in wrong.stdout


def test_models_answer_with_the_repository_moved_away(logged, tmp_path):
    """A new process in `/`, `recipes/` and `shared/` gone: only the store is left."""
    checkout, _ = logged
    rows = json.loads((checkout / "build/log-all.json").read_text())
    recipes = {recipe.name: recipe for recipe in RECIPES}
    away = tmp_path / "away"
    away.mkdir()
    for folder in ("recipes", "shared"):
        shutil.move(checkout / folder, away / folder)
    try:
        for row in rows:
            recipe, answer = recipes[row["recipe"]], tmp_path / f"{row['recipe']}.json"
            child = [*recipe.runs_with, sys.executable, "-I", *WARNINGS, "-c", SCORE]
            request = recipe.path / "request.json"  # the question comes from elsewhere
            store = f"sqlite:///{checkout}/.mlflow/mlflow.db"
            subprocess.run(
                [*child, row["model_uri"], request, answer],
                cwd="/",
                env={**os.environ, "MLFLOW_TRACKING_URI": store},
                check=True,
            )
            want = recipe.json("response.json")
            tolerance = want.pop("tolerance", {})
            assert differences(json.loads(answer.read_text()), want, tolerance) == []
    finally:
        for folder in ("recipes", "shared"):
            shutil.move(away / folder, checkout / folder)


def test_five_drivers_at_once_on_a_fresh_checkout(fresh_checkout, tmp_path):
    checkout = fresh_checkout("at once")

    def drive(recipe):
        return subprocess.run(
            [sys.executable, *WARNINGS, checkout / "recipes" / recipe.name / "driver.py"],
            cwd=tmp_path,
            env=environment(checkout),
            capture_output=True,
            text=True,
        )

    with ThreadPoolExecutor(len(RECIPES)) as pool:
        for recipe, done in zip(RECIPES, pool.map(drive, RECIPES), strict=True):
            assert done.returncode == 0, f"{recipe.name}\n{done.stderr}"
            assert re.search(r"^run     \w+\nmodel   models:/m-\w+\nresult  .", done.stdout, re.M)
    store = sqlite3.connect(checkout / ".mlflow/mlflow.db")
    assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert list(tmp_path.iterdir()) == [], "a driver left files in the working directory"


def test_one_failure_does_not_stop_the_others(fresh_checkout):
    checkout = fresh_checkout("failing")
    for recipe in RECIPES:
        if recipe.name != "circle_area":
            shutil.rmtree(checkout / "recipes" / recipe.name)
    shutil.copytree(checkout / "recipes/circle_area", checkout / "recipes/broken")
    (checkout / "recipes/broken/driver.py").write_text("raise ValueError('no such column')")
    done = make(checkout, "log-all")
    rows = {row["recipe"]: row for row in json.loads((checkout / "build/log-all.json").read_text())}
    assert done.returncode != 0
    assert rows["circle_area"]["status"] == "ok"
    assert rows["broken"]["status"] == "failed"
    assert rows["broken"]["error"].startswith("ValueError: no such column (driver.py, line 1)")
    assert rows["broken"]["model_uri"] is None
    assert "make log RECIPE=broken" in done.stdout


def test_another_store_wins_and_nothing_local_is_written(fresh_checkout, tmp_path):
    """A new SQLite file of one's own too is made by one process while the others wait."""
    checkout = fresh_checkout("elsewhere")
    store = f"sqlite:///{tmp_path}/team.db"
    driver = [sys.executable, *WARNINGS, checkout / "recipes/circle_area/driver.py"]
    drivers = [
        subprocess.Popen(driver, cwd=tmp_path, env=environment(checkout, MLFLOW_TRACKING_URI=store))
        for _ in range(3)
    ]
    assert [process.wait() for process in drivers] == [0, 0, 0]
    runs = sqlite3.connect(tmp_path / "team.db").execute("SELECT status FROM runs").fetchall()
    assert runs == [("FINISHED",)] * 3
    assert not (checkout / ".mlflow").exists()


def test_killed_driver_ends_its_run(tmp_path, fresh_checkout):
    checkout = fresh_checkout("killed")
    code = (
        "import os, signal\nfrom shared.run import recipe_run\n"
        "with recipe_run('x/killed/driver.py', ''):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(checkout), cwd=tmp_path)
    assert done.returncode == 143
    store = sqlite3.connect(checkout / ".mlflow/mlflow.db")
    assert store.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]


def test_unknown_recipe_lists_the_known_ones():
    for words in (["log", "RECIPE=circel"], ["smoke", "RECIPE=circel"], ["serve", "RECIPE="]):
        done = make(ROOT, *words)
        assert done.returncode != 0 and "known: circle_area," in done.stderr
    with pytest.raises(UnknownRecipe, match="known: circle_area"):
        find("../recipes/circle_area")


@pytest.mark.parametrize("words", [["serve", "RECIPE=circle_area"], ["ui"]], ids=str)
def test_a_port_that_is_taken_is_said_in_one_line(logged, words):
    checkout, _ = logged
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = make(checkout, *words, f"PORT={port}")
    said = done.stderr.splitlines()
    assert said[0] == f"port {port}: address already in use; choose another with PORT="
    assert done.returncode != 0 and len(said) == 2  # the other is make's own


def test_help_and_list_import_no_mlflow():
    helped = make(ROOT)
    assert helped.returncode == 0 and "make log-all" in helped.stdout
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "shared.cli", "list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [r.name for r in RECIPES]
    assert "mlflow" not in done.stderr


@pytest.mark.parametrize(
    "got, want, tolerance, same",
    [
        ({"a": 1.0}, {"a": 1.0}, {}, True),
        ({"a": 1.01}, {"a": 1.0}, {}, False),
        ({"a": 1.01}, {"a": 1.0}, {"a": 0.02}, True),
        ({"a": [1.0, 1.5]}, {"a": [1.0, 1.0]}, {"a": 0.02}, False),
        ({"a": True}, {"a": 1}, {"a": 1.0}, False),
        ({"a": 1, "b": 2}, {"a": 1}, {}, False),
        ([{"a": "x"}], [{"a": "x"}, {"a": "x"}], {}, False),
        ({"a": None}, {"a": 0.0}, {"a": 1.0}, False),
        ({"a": float("nan")}, {"a": 1.0}, {"a": 1.0}, False),
    ],
)
def test_differences_can_tell(got, want, tolerance, same):
    assert (differences(got, want, tolerance) == []) is same


def processes(mark: str) -> list[str]:
    """Return the commands of the processes that have the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "Ctrl-C"])
@pytest.mark.parametrize("target", ["log-all", "serve", "ui"])
def test_no_process_is_left_behind(logged, target, how, tmp_path):
    checkout, _ = logged
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db"} if target == "log-all" else {}
    words = ["make", "-o", ".venv/.recipes", target, "RECIPE=circle_area", f"PORT={port}"]
    process = subprocess.Popen(
        words,
        cwd=checkout,
        env=environment(checkout, COOKBOOK_MARK=str(tmp_path), **store),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    enough, deadline = {"log-all": 5, "serve": 4, "ui": 4}[target], time.monotonic() + 60
    while len(processes(str(tmp_path))) < enough and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(processes(str(tmp_path))) >= enough
    if how == signal.SIGTERM:
        process.terminate()
    else:
        os.killpg(process.pid, how)  # as a terminal does
    process.wait(60)
    while processes(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(str(tmp_path)) == []


HOSTILE = "x; touch {0}; $(shell touch {0}) $$(touch {0}) $(touch {0}) `touch {0}`"
WHERE = {
    "log": ["RECIPE"],
    "bench": ["RECIPE"],
    "verify": ["RECIPE", "WAY"],
    "new": ["FROM", "TO"],
    "recipe": ["NAME"],
    "serve": ["PORT"],
    "promote": ["VERSION"],
    "score-spark": ["INPUT", "OUTPUT", "PARAMS", "GROUP_BY"],
    "list": ["TILES", "YES"],  # whatever has no use for them
    ".venv/bin/uv": ["PYTHON"],
}


@pytest.mark.parametrize("target", WHERE)
def test_make_variables_are_data(target, tmp_path, fresh_checkout):
    """Whatever stands in a variable, neither make nor the shell runs any of it."""
    checkout, there = fresh_checkout("variables"), tmp_path / "there"
    if target.startswith(".venv"):
        (checkout / ".venv").unlink()
    for variable in WHERE[target]:
        for quote in ("", "'", '"'):
            words = {"RECIPE": "circle_area", "FROM": "circle_area", "TO": str(tmp_path / "to_a")}
            words |= {"INPUT": "a.csv", "OUTPUT": "b"}
            words[variable] = quote + HOSTILE.format(there)
            given = [f"{name}={value}" for name, value in words.items()]
            stamps = ["-o", ".venv/.spark", "-o", ".venv/.team", "-o", ".venv/.check"]
            done = make(checkout, target, *stamps, *given)
            assert (done.returncode != 0) == (target != "list"), done.stdout
            assert not there.exists(), f"{variable}={words[variable]}"


def test_every_make_variable_is_tried():
    data = re.search(r"^DATA := (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert set(data) == {name for names in WHERE.values() for name in names}
