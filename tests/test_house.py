"""The way through the house: what a person types, on a fresh checkout."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

from shared import known_answer, servers, smoke
from shared import processes as house_processes
from shared.cli import main
from shared.processes import free_port
from shared.recipes import ROOT, WARNINGS, CookbookError, discover, find
from shared.run import recipe_run

import mlflow
import pandas as pd
import pytest
from mlflow.environment_variables import MLFLOW_UV_AUTO_DETECT
from mlflow.telemetry.utils import is_telemetry_disabled

from benchmarks.report import marked_processes
from recipes.circle_area.driver import SIGNATURE
from tests.conftest import environment, left_behind, make, only, store

RECIPES = discover()


def test_log_all_logs_every_recipe_without_a_warning(logged):
    rows = json.loads((logged / "build/log-all.json").read_text())
    assert [row["recipe"] for row in rows] == [recipe.name for recipe in RECIPES]
    for row in rows:
        assert row["status"] == "ok" and row["error"] is None and row["seconds"] > 0
        assert row["model_uri"] == f"models:/{row['model_id']}"
        said = (logged / f"build/log/{row['recipe']}.txt").read_text()
        assert not re.search("warning|deprecat", said, re.I), said


def test_log_all_tells_the_truth(logged):
    """What the JSON and the runs' pages say is in the store, READY, with an example."""
    store = sqlite3.connect(logged / ".mlflow/mlflow.db")
    for row in json.loads((logged / "build/log-all.json").read_text()):
        status = "SELECT status FROM runs WHERE run_uuid = ?"
        assert store.execute(status, [row["run_id"]]).fetchone() == ("FINISHED",)
        source = "SELECT source_run_id, name, artifact_location FROM logged_models"
        source += " WHERE model_id=?"
        run, name, place = store.execute(source, [row["model_id"]]).fetchone()
        assert (run, name) == (row["run_id"], row["recipe"])
        files = list((logged / ".mlflow/artifacts/models" / row["model_id"]).rglob("*"))
        names = {file.name for file in files}
        assert (
            place.startswith("file://") and {"input_example.json", "MLmodel"} <= names
        )
        assert not [
            file for file in files if file.suffix in (".pkl", ".pickle", ".joblib")
        ]
        page = (
            "SELECT value FROM tags WHERE key = 'mlflow.note.content' AND run_uuid = ?"
        )
        sets = "SELECT name FROM datasets JOIN inputs ON dataset_uuid = source_id"
        sets = store.execute(
            f"{sets} WHERE destination_id = ?", [row["run_id"]]
        ).fetchall()
        kept = {
            file.name
            for file in (logged / ".mlflow/artifacts" / row["run_id"]).rglob("*")
        }
        said = store.execute(page, [row["run_id"]]).fetchone()[0]
        named = {*re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", said)} - {
            "Artifacts",
            "Traces",
        }
        assert named <= {*kept, *(name for (name,) in sets)}
    assert store.execute(
        "SELECT count(*) FROM runs WHERE status != 'FINISHED'"
    ).fetchone() == (0,)
    assert not (logged / "mlruns").exists()


def test_smoke_all_sees_a_wrong_answer_beside_a_right_one(logged, fresh_checkout):
    checkout = only(fresh_checkout("smoke"), "circle_area", "pc_fast")
    response = checkout / "recipes/circle_area/response.json"
    response.write_text(response.read_text().replace("3.14159", "3.15159"))
    done = make(checkout, "smoke-all", **store(logged))
    assert done.returncode != 0 and ".predictions[2].area: got 3.14159" in done.stdout
    told = re.findall(r"^\[(./.)\] (\w+) +(\w+)", done.stdout, re.M)
    assert [number for number, _, _ in told] == ["1/2", "2/2"]
    status = {name: status for _, name, status in told}  # in the order they ended
    assert status == {"circle_area": "failed", "pc_fast": "ok"}


def test_smoke_sees_an_import_of_the_repository(tmp_path):
    """Where the model was logged, the import works: so the check is elsewhere."""
    circle = find("circle_area")
    code = (circle.path / "model_code.py").read_text()
    (file := tmp_path / "model_code.py").write_text(f"import shared.recipes\n{code}")
    model = str(tmp_path / "model")
    asked = {"signature": SIGNATURE, "input_example": pd.DataFrame({"diameter": [1.0]})}
    mlflow.pyfunc.save_model(model, python_model=file, pip_requirements=[], **asked)
    with pytest.raises(CookbookError, match="No module named 'shared"):
        smoke.answer(circle, model)


def test_runs_keep_their_params_metrics_and_data(logged):
    """They are those of runs.json, up to what differs between machines."""
    store = sqlite3.connect(logged / ".mlflow/mlflow.db")
    rows = json.loads((logged / "build/log-all.json").read_text())
    runs = {row["recipe"]: row["run_id"] for row in rows}
    for recipe, want in json.loads((ROOT / "tests/runs.json").read_text()).items():
        kept = {}
        for what, words in {
            "params": "key, value FROM params WHERE run_uuid",
            "metrics": "key, value FROM latest_metrics WHERE run_uuid",
            "data": "name, 0 FROM datasets JOIN inputs ON dataset_uuid = source_id"
            " WHERE destination_id",
        }.items():
            kept[what] = dict(store.execute(f"SELECT {words} = ?", [runs[recipe]]))
        assert (kept["params"], sorted(kept["data"])) == (
            want["params"],
            want["data"],
        ), recipe
        assert kept["metrics"] == pytest.approx(want["metrics"], rel=0.05, abs=0.05), (
            recipe
        )


def test_accept_shows_what_differs_and_writes_nothing_unasked(
    tmp_path, monkeypatch, capsys
):
    """The whole of it on a terminal's behalf is in the starter's test."""
    (file := tmp_path / "response.json").write_text(
        '{"predictions": [1, 2], "tolerance": {}}'
    )
    said, before = {"predictions": [1, 3, 4]}, file.read_text()
    assert known_answer.accept(said, tmp_path) == 1 and file.read_text() == before
    shown = 'row 1\n  - 2\n  + 3\nrow 2\n  - "no row"\n  + 4\n'
    assert capsys.readouterr() == (shown, "not written: add YES=1\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda asked: "y")
    assert known_answer.accept(said, tmp_path) == 0 and capsys.readouterr().out == shown
    assert json.loads(file.read_text()) == said
    assert known_answer.accept(said, tmp_path) == 0
    assert capsys.readouterr().out == "the expected answer already\n"


def test_one_failure_does_not_stop_the_others(fresh_checkout):
    checkout = only(fresh_checkout("failing"), "circle_area")
    shutil.copytree(checkout / "recipes/circle_area", checkout / "recipes/broken")
    (checkout / "recipes/broken/driver.py").write_text(
        "raise ValueError('no such column')"
    )
    done = make(checkout, "log-all")
    rows = {
        row["recipe"]: row
        for row in json.loads((checkout / "build/log-all.json").read_text())
    }
    assert done.returncode != 0 and not re.search("warning", done.stderr, re.I)
    assert (
        rows["circle_area"]["status"] == "ok"
        and rows["circle_area"]["model_uri"] in done.stdout
    )
    assert rows["broken"]["status"] == "failed" and rows["broken"]["model_uri"] is None
    assert rows["broken"]["error"].startswith(
        "ValueError: no such column (driver.py, line 1)"
    )
    assert "make log RECIPE=broken\n\nlook at them: `make ui`; " in done.stdout


def test_another_store_wins_and_nothing_local_is_written(fresh_checkout, tmp_path):
    """Of two drivers at once, one makes the store while the other waits."""
    checkout, elsewhere = fresh_checkout("elsewhere"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/team.db"}
    driver = [sys.executable, *WARNINGS, checkout / "recipes/circle_area/driver.py"]
    place = {"cwd": elsewhere, "env": environment(checkout, **store)}
    drivers = [
        subprocess.Popen(driver, stdout=-1, text=True, **place) for _ in range(2)
    ]
    for process in drivers:
        said, _ = process.communicate()
        assert process.returncode == 0
        assert re.match(r"run     \w+\nmodel   models:/m-\w+\nresult  .", said)
    runs = (
        sqlite3.connect(tmp_path / "team.db")
        .execute("SELECT status FROM runs")
        .fetchall()
    )
    assert runs == [("FINISHED",)] * 2
    assert not (checkout / ".mlflow").exists() and not list(elsewhere.iterdir())


def test_killed_driver_ends_its_run(tmp_path, new_store, monkeypatch):
    new_store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    if not (driver := os.fork()):
        with recipe_run("killed", ""):
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1]) == 130
    store = sqlite3.connect(tmp_path / "mlflow.db")
    assert store.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]


@pytest.mark.parametrize(
    "command, values, code, said",
    [
        ("no-such", {}, 2, "one command of: list, log"),
        ("list", {}, 0, ""),
        ("registry", {}, 0, ""),
        ("log", {"RECIPE": "circel"}, 1, "known: circle_area, "),
        ("log", {"RECIPE": "../recipes/circle_area"}, 1, "known: circle_area, "),
        ("smoke", {}, 1, "no recipe named: add RECIPE=<name>"),
        ("new", {}, 1, "no recipe named: add FROM=<name>"),
        ("new", {"FROM": "circle_area"}, 1, "name the new folder"),
        ("recipe", {"NAME": "Bmi"}, 1, "no name for a recipe"),
        ("recipe", {"NAME": "circle_area"}, 1, "there already"),
        ("serve", {"RECIPE": "circle_area", "PORT": "0"}, 1, "PORT='0': give a number"),
        (
            "serve",
            {"RECIPE": "circle_area", "PORT": "65536"},
            1,
            "PORT='65536': give a number",
        ),
        ("ui", {"PORT": "http"}, 1, "PORT='http': give a number"),
        ("ui", {"PORT": "65535"}, 1, "nothing logged yet"),
        ("serve", {"RECIPE": "circle_area"}, 1, "nothing logged yet"),
        ("accept", {"RECIPE": "circle_area"}, 1, "nothing logged yet"),
        ("promote", {"RECIPE": "circle_area"}, 1, "circle_area has no challenger"),
        ("score-spark", {"RECIPE": "circle_area"}, 1, "add INPUT="),
    ],
)
def test_exit_codes(command, values, code, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert main([command]) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "asking creates nothing"


def test_an_unforeseen_error_is_one_line_and_so_is_an_interruption(monkeypatch, capsys):
    monkeypatch.setattr(
        "shared.recipes.print_recipes", Mock(side_effect=[OSError, KeyboardInterrupt])
    )
    assert [main(["list"]), main(["list"])] == [1, 130]
    assert re.match(
        r"OSError: .*; the traceback: \S+\ninterrupted\n\Z", capsys.readouterr().err
    )


@pytest.fixture
def started(monkeypatch):
    """The commands that would be started, for a store in which one model was logged."""
    seen = []
    monkeypatch.setattr(
        servers, "run", lambda words, **more: seen.append((words, more)) or 0
    )
    monkeypatch.setattr(servers, "newest_model", lambda recipe: "models:/m-1")
    monkeypatch.setattr(servers, "open_store", lambda: True)
    return seen


@pytest.mark.parametrize("command", ["serve", "serve-agent", "ui"])
def test_servers_listen_on_loopback_at_a_free_port(
    command, started, monkeypatch, capsys
):
    monkeypatch.setenv("RECIPE", "circle_area")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        monkeypatch.setenv("PORT", port)
        assert main([command]) == 1 and not started
    said = f"port {port}: address already in use; choose another: PORT=\n"
    assert capsys.readouterr().err == said
    assert main([command]) == 0
    ((words, more),) = started
    assert words[-4:] == ["--host", "127.0.0.1", "--port", port]
    assert command != "ui" or more["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_no_usage_reports_and_no_lock_of_the_folder_in_a_model(monkeypatch):
    names = ["MLFLOW_DISABLE_TELEMETRY", "MLFLOW_UV_AUTO_DETECT"]
    code = f"import os, shared; print(*[os.environ[name] for name in {names}])"
    alone = {"PATH": os.environ["PATH"]}  # CI turns them off
    words = [sys.executable, "-c", code]
    said = subprocess.check_output(words, cwd=ROOT, text=True, env=alone).split()
    for name, value in zip(names, said, strict=True):
        monkeypatch.setenv(name, value)
    assert is_telemetry_disabled()
    assert not MLFLOW_UV_AUTO_DETECT.get()


def test_help_and_list_import_no_mlflow_and_serve_few_files_of_ours():
    assert "make log-all" in make(ROOT).stdout
    words = [sys.executable, "-X", "importtime", "-m", "shared.cli", "list"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        r.name for r in RECIPES
    ]
    assert "mlflow" not in done.stderr
    words = [
        sys.executable,
        "-c",
        "import sys, shared.cli, shared.servers; print(*sys.modules)",
    ]
    ours = re.findall(
        r"\bshared\.\w+", subprocess.check_output(words, cwd=ROOT, text=True)
    )
    assert sorted(ours) == [
        f"shared.{name}" for name in ("cli", "processes", "recipes", "servers", "store")
    ]


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
    assert (known_answer.differences(got, want, tolerance) == []) is same


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    "target, how, enough",
    [
        ("log-all", signal.SIGTERM, 5),
        ("serve", signal.SIGINT, 4),
    ],
)
def test_no_process_is_left_behind(
    request, fresh_checkout, target, how, enough, tmp_path
):
    checkout = fresh_checkout("stopped")
    there = {} if target == "log-all" else store(request.getfixturevalue("logged"))
    words = [target, "RECIPE=circle_area", f"PORT={free_port()}"]
    assert (
        left_behind(checkout, words, enough, how, COOKBOOK_MARK=str(tmp_path), **there)
        == {}
    )
    assert not [*checkout.glob("build/log/*.json")], "a driver went on to its end"


def test_what_ignores_a_polite_end_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(house_processes, "PATIENCE", 1)
    monkeypatch.setenv("COOKBOOK_MARK", str(tmp_path))
    assert house_processes.run(["sh", "-c", "trap '' TERM; sleep 600 &"]) == 0
    looks = [marked_processes(str(tmp_path)) for _ in range(100)]
    assert not all(looks), "it is gone at one of the looks"


# Breaks out of nothing, of single and of double quotes.
HOSTILE = "x; {0}; $(shell {0}) $$({0}) $({0}) `{0}` '; {0}; ' \"; {0}; \""
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
    """Whatever stands in its variables, neither make nor the shell runs any of it."""
    checkout, there = fresh_checkout("variables"), tmp_path / "there"
    if target.startswith(".venv"):
        (checkout / ".venv").unlink()
    words = {
        "RECIPE": "circle_area",
        "FROM": "circle_area",
        "TO": str(tmp_path / "to_a"),
    }
    words |= dict.fromkeys(WHERE[target], HOSTILE.format(f"touch {there}"))
    given = [f"{name}={value}" for name, value in words.items()]
    stamps = [
        w
        for part in ("spark", "team", "check", "browser", "sign")
        for w in ("-o", f".venv/.{part}")
    ]
    done = make(checkout, target, *stamps, *given, PYTEST_ADDOPTS="--collect-only")
    assert (done.returncode != 0) == (target != "list"), done.stdout
    assert not there.exists() and (
        target != "bench" or "benchmark x; touch" in done.stderr
    ), words


def test_every_make_variable_is_tried():
    data = re.search(r"^DATA := (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert set(data) == {name for names in WHERE.values() for name in names}
