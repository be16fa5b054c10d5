"""The commands that a person types, on a fresh checkout."""

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
from pathlib import Path
from unittest.mock import Mock

from shared import known_answer, processes, servers, smoke
from shared.cli import main
from shared.forks import run_in_forks
from shared.recipes import ROOT, WARNINGS, discover, find
from shared.run import recipe_run

import mlflow
import pytest

from benchmarks import circle_area
from benchmarks.report import marked_processes
from tests.conftest import (
    environment,
    make,
    only,
    run_lines,
    store_uri,
    summary,
)

RECIPES = discover()
RUNS = ROOT / "tests/runs.json"


def test_log_all_logs_every_recipe_without_a_warning(logged):
    rows = summary(logged)
    assert [row["recipe"] for row in rows] == [recipe.name for recipe in RECIPES]
    for row in rows:
        assert row["status"] == "ok" and row["error"] is None and row["seconds"] > 0
        printed = (logged / f"build/log/{row['recipe']}.txt").read_text()
        assert not re.search("warning|deprecat", printed, re.I), printed
    assert not (logged / "mlruns").exists()


def test_runs_keep_their_metrics(request, logged):
    """They are those of runs.json, up to 5 %: machines differ."""
    client = mlflow.MlflowClient(store_uri(logged))
    metrics = {}
    for recipe, row in zip(RECIPES, summary(logged), strict=True):
        run = client.get_run(row["run_id"])
        assert run.info.status == "FINISHED"
        driver = (recipe.path / "driver.py").read_text()
        logs_params = "log_params(" in driver or "model_config=" in driver
        assert bool(run.data.params) == logs_params, recipe.name
        assert run.inputs.dataset_inputs or "log_input(" not in driver, recipe.name
        if run.data.metrics:
            rounded = {key: f"{value:.4g}" for key, value in run.data.metrics.items()}
            metrics[recipe.name] = {key: float(text) for key, text in rounded.items()}
    if request.config.getoption("--keep-metrics"):
        RUNS.write_text(json.dumps(metrics, indent=2) + "\n")
    kept = json.loads(RUNS.read_text())
    assert metrics.keys() == kept.keys()
    for name, expected in kept.items():
        assert metrics[name] == pytest.approx(expected, rel=0.05), name


def test_smoke_all_sees_a_wrong_answer_beside_a_right_one(logged, fresh_checkout):
    checkout = only(fresh_checkout("smoke"), "circle_area", "pc_fast")
    response = checkout / "recipes/circle_area/response.json"
    response.write_text(response.read_text().replace("3.14159", "3.15159"))
    done = make(checkout, "smoke-all", MLFLOW_TRACKING_URI=store_uri(logged))
    assert done.returncode != 0 and ".predictions[2].area: got 3.14159" in done.stdout
    lines = re.findall(r"^\[(./.)\] (\w+) +(\w+)", done.stdout, re.M)
    assert [count for count, _, _ in lines] == ["1/2", "2/2"]
    verdicts = {name: verdict for _, name, verdict in lines}  # in the order they ended
    assert verdicts == {"circle_area": "failed", "pc_fast": "ok"}


def test_smoke_prints_the_command_that_it_stands_for(logged):
    """It runs as it is printed: it names the store."""
    done = make(logged, "smoke", RECIPE="circle_area")
    (command,) = re.findall(r"^\$ (.*)", done.stdout, re.M)
    assert '"predictions"' in run_lines(command, logged)


def test_smoke_sees_an_import_of_the_repository(tmp_path, monkeypatch, capfd):
    """Where the model was logged, the import works: so the check is elsewhere."""
    circle = find("circle_area")
    code = (circle.path / "model_code.py").read_text()
    (tmp_path / "model_code.py").write_text(f"import shared.recipes\n{code}")
    circle_area.save(tmp_path / "model", python_model=tmp_path / "model_code.py")
    monkeypatch.setattr(smoke, "newest_model", lambda recipe: str(tmp_path / "model"))
    ((_, exit_code, _),) = run_in_forks(smoke.check_here, [circle], "smoke")
    assert exit_code == 1 and "import of shared.recipes" in capfd.readouterr().err


@pytest.mark.parametrize(
    "answer, expected, tolerance, is_same",
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
        ({"a.b[1]": [1.01]}, {"a.b[1]": [1.0]}, {"a.b[1]": 0.02}, True),
        ({"a": {"b": 1.01}}, {"a": {"b": 1.0}}, {"a": 0.02}, False),
    ],
)
def test_differences_can_tell(answer, expected, tolerance, is_same):
    assert (known_answer.differences(answer, expected, tolerance) == []) is is_same


def test_accept_shows_what_differs_and_writes_nothing_unasked(
    tmp_path, monkeypatch, capsys
):
    file = tmp_path / "response.json"
    file.write_text('{"predictions": [{"x": 1}, {"x": 2}], "tolerance": {"x": 0.1}}')
    before, answer = file.read_text(), {"predictions": [{"x": 1}, {"x": 3}, {"x": 4}]}
    assert known_answer.accept(answer, tmp_path) == 1 and file.read_text() == before
    shown = ".predictions[1].x: got 3, expected 2\n"
    shown += ".predictions[2]: got {'x': 4}, expected 'nothing'\n"
    assert capsys.readouterr() == (shown, "not written: add YES=1\n")
    monkeypatch.setenv("YES", "1")
    assert known_answer.accept(answer, tmp_path) == 0
    assert json.loads(file.read_text()) == answer | {"tolerance": {"x": 0.1}}
    assert known_answer.accept(answer, tmp_path) == 0
    assert capsys.readouterr().out == f"{shown}the expected answer already\n"


def test_one_failure_does_not_stop_the_others(fresh_checkout, new_store):
    checkout = only(fresh_checkout("failing"), "circle_area")
    broken = shutil.copytree(
        checkout / "recipes/circle_area", checkout / "recipes/broken"
    )
    (broken / "driver.py").write_text("import pathlib\npathlib.Path('no').stat()")
    new_store(checkout / ".mlflow/mlflow.db")
    done = make(checkout, "log-all")
    rows = {row["recipe"]: row for row in summary(checkout)}
    assert done.returncode != 0 and rows["circle_area"]["status"] == "ok"
    assert rows["circle_area"]["model_uri"] in done.stdout
    assert rows["broken"]["status"] == "failed" and rows["broken"]["model_uri"] is None
    error = rows["broken"]["error"]
    assert error.startswith("FileNotFoundError: ") and "(driver.py, line 2)" in error
    assert "make log RECIPE=broken\n" in done.stdout


@pytest.mark.parametrize("code, expected", [(None, 0), (0, 0), (3, 3), ("no", 1)])
def test_a_fork_ends_as_its_driver_does(code, expected):
    circle = find("circle_area")
    ((_, ended, _),) = run_in_forks(lambda recipe: sys.exit(code), [circle], "smoke")
    assert ended == expected


def test_another_store_wins_and_nothing_local_is_written(fresh_checkout, tmp_path):
    """Of two drivers at once, one makes the store while the other waits."""
    checkout, elsewhere = fresh_checkout("elsewhere"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = [sys.executable, *WARNINGS, checkout / "recipes/circle_area/driver.py"]
    team = f"sqlite:///{tmp_path}/team.db"
    variables = environment(checkout, MLFLOW_TRACKING_URI=team)
    drivers = [subprocess.Popen(words, cwd=elsewhere, env=variables) for _ in range(2)]
    assert [driver.wait() for driver in drivers] == [0, 0]
    runs = sqlite3.connect(tmp_path / "team.db").execute("SELECT status FROM runs")
    assert runs.fetchall() == [("FINISHED",)] * 2
    assert not (checkout / ".mlflow").exists() and not list(elsewhere.iterdir())


def test_killed_driver_ends_its_run(empty_store):
    driver = os.fork()
    if driver == 0:
        with recipe_run("killed", ""):
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1]) == 130
    runs = sqlite3.connect(empty_store).execute("SELECT status FROM runs")
    assert runs.fetchall() == [("FAILED",)]


@pytest.mark.parametrize(
    "command, variables, code, message",
    [
        ("registry", {}, 0, ""),
        ("log", {"RECIPE": "circel"}, 1, "known: circle_area, "),
        ("log", {"RECIPE": "../recipes/circle_area"}, 1, "known: circle_area, "),
        ("new", {}, 1, "no recipe named: add FROM=<name>"),
        ("new", {"FROM": "circle_area"}, 1, "name the new folder"),
        ("recipe", {"NAME": "circle_area"}, 1, "there already"),
        ("ui", {"PORT": "65536"}, 1, "PORT='65536': give a number"),
        ("ui", {"PORT": "http"}, 1, "PORT='http': give a number"),
        ("ui", {}, 1, "nothing logged yet"),
        ("score-spark", {"RECIPE": "circle_area"}, 1, "add INPUT="),
    ],
)
def test_exit_codes(command, variables, code, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(command) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "asking creates nothing"


def test_an_unforeseen_error_is_one_line_and_so_is_an_interruption(monkeypatch, capsys):
    errors = Mock(side_effect=[OSError, KeyboardInterrupt])
    monkeypatch.setattr("shared.recipes.print_recipes", errors)
    assert [main("list"), main("list")] == [1, 130]
    lines = r"OSError: .*; the traceback: .+\ninterrupted\n\Z"
    assert re.match(lines, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["serve", "serve-agent", "ui"])
def test_servers_listen_on_loopback_at_a_free_port(command, monkeypatch, capsys):
    run = Mock(return_value=0)
    monkeypatch.setattr(servers, "run_command", run)
    monkeypatch.setattr(servers, "newest_model", lambda recipe: "models:/m-1")
    monkeypatch.setattr(servers, "open_store", lambda: True)
    monkeypatch.setenv("RECIPE", "circle_area")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        monkeypatch.setenv("PORT", port)
        assert main(command) == 1 and not run.called
    assert f"port {port} is in use" in capsys.readouterr().err
    assert main(command) == 0
    assert run.call_args.args[0][-4:] == ["--host", "127.0.0.1", "--port", port]


def test_importing_shared_turns_off_usage_reports_and_locks_of_the_folder():
    code = "import shared, mlflow.telemetry.utils as telemetry\n"
    code += "from mlflow.environment_variables import MLFLOW_UV_AUTO_DETECT as lock\n"
    code += "print(telemetry.is_telemetry_disabled(), lock.get())"
    variables = {"PATH": os.environ["PATH"]}  # CI turns them off
    printed = subprocess.check_output(
        [sys.executable, "-c", code], cwd=ROOT, env=variables
    )
    assert printed.split() == [b"True", b"False"]


def test_help_and_list_import_no_mlflow():
    assert "make log-all" in make(ROOT).stdout
    words = [sys.executable, "-X", "importtime", "-m", "shared.cli", "list"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [recipe.name for recipe in RECIPES]
    assert "mlflow" not in done.stderr


def remaining_processes(mark: str) -> dict[int, str]:
    """Return the marked processes that don't end within a minute."""
    deadline = time.monotonic() + 60
    while (remaining := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return remaining


def left_behind(
    checkout: Path, words: list[str], enough: int, how: int, **more: str
) -> dict:
    """Start make, end it after so many processes, return those that are left."""
    mark = more["COOKBOOK_MARK"]
    env = environment(checkout, **more)
    typed = ["make", "-o", ".venv/.recipes", "-o", ".venv/.spark", *words]
    process = subprocess.Popen(
        typed, cwd=checkout, env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(marked_processes(mark)) < enough:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # Ctrl-C reaches all of a terminal's processes.
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    process.wait(120)
    return remaining_processes(mark)


has_proc = Path("/proc/self/environ").exists()
reads_proc = pytest.mark.skipif(not has_proc, reason="looks into /proc")


@reads_proc
@pytest.mark.parametrize(
    "target, how, enough",
    [
        ("log-all", signal.SIGTERM, 5),
        ("serve", signal.SIGINT, 4),
        ("accept", signal.SIGINT, 4),
        ("accept", signal.SIGTERM, 4),
    ],
)
def test_no_process_is_left_behind(
    request, fresh_checkout, target, how, enough, tmp_path
):
    checkout, variables = fresh_checkout("stopped"), {"COOKBOOK_MARK": str(tmp_path)}
    if target != "log-all":
        logged = request.getfixturevalue("logged")
        variables["MLFLOW_TRACKING_URI"] = store_uri(logged)
    recipe = "openai_call" if target == "accept" else "circle_area"
    if target == "accept":  # beside a service whose command has no end
        service = "import subprocess\nsubprocess.run(['sleep', '600'])"
        (checkout / "shared/local_llm.py").write_text(service)
    words = [target, f"RECIPE={recipe}", f"PORT={processes.free_port()}"]
    assert left_behind(checkout, words, enough, how, **variables) == {}
    assert not (checkout / "build/log-all.json").exists()


@reads_proc
def test_what_ignores_a_polite_end_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "PATIENCE", 1)
    monkeypatch.setenv("COOKBOOK_MARK", str(tmp_path))
    assert processes.run_command(["sh", "-c", "trap '' TERM; sleep 600 &"]) == 0
    assert remaining_processes(str(tmp_path)) == {}


@pytest.mark.parametrize("makefile", ["Makefile", "shared/starter/Makefile"])
@pytest.mark.parametrize("is_moved", [True, False])
def test_a_moved_environment_is_made_again(makefile, is_moved, tmp_path):
    """Its commands hold its path, such as `.venv/bin/pytest`."""
    shutil.copy(ROOT / makefile, tmp_path / "Makefile")
    (tmp_path / ".venv").mkdir()
    place = tmp_path / ("elsewhere" if is_moved else "") / ".venv"
    (tmp_path / ".venv/.place").write_text(f"{place}\n")
    make(tmp_path, "clean")
    assert (tmp_path / ".venv").exists() != is_moved


# Breaks out of nothing, of single and of double quotes.
HOSTILE = "x; {0}; $(shell {0}) $$({0}) $({0}) `{0}` '; {0}; ' \"; {0}; \""


@pytest.mark.parametrize("target", ["list", "bench", "verify", ".venv/bin/uv"])
def test_make_variables_are_data(target, tmp_path, fresh_checkout):
    """Whatever stands in them, neither make nor the shell runs any of it."""
    checkout, sign = fresh_checkout("variables"), tmp_path / "sign"
    if target.startswith(".venv"):
        (checkout / ".venv").unlink()
    makefile = (ROOT / "Makefile").read_text()
    names = re.search(r"^DATA := (.*)", makefile, re.M)[1].split()
    words = [f"{name}={HOSTILE.format(f'touch {sign}')}" for name in names]
    for stamp in ("recipes", "spark", "team", "browser", "sign"):
        words += ["-o", f".venv/.{stamp}"]
    done = make(checkout, target, *words, PYTEST_ADDOPTS="--collect-only")
    assert (done.returncode != 0) == (target != "list"), done.stdout
    assert not sign.exists()
