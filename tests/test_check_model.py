"""check-model finds each fault of its corpus by one check alone, and no fault else."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from check_model import CheckError, check_model, read_checks
from check_model.command import print_check
from check_model.files import brought_by, named

import pytest

from benchmarks.check_model import FAULTLESS, FAULTS, Model

pytestmark = pytest.mark.filterwarnings("ignore")

# `make test` has a fault of each check and a model of each kind; `make pitfalls` all.
QUICK = [*{model.finds: model for model in FAULTS}.values(), *FAULTLESS[:8]]
MARKS: dict[bool, list[Any]] = {True: [], False: [pytest.mark.pitfall]}
CASES = [
    pytest.param(model, id=model.name, marks=MARKS[model in QUICK])
    for model in (*FAULTS, *FAULTLESS)
]


@pytest.mark.parametrize("model", CASES)
def test_a_fault_is_found_by_its_check_alone(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "none of yours")
    results = check_model(model.save(tmp_path))
    found = [outcome.name for outcome in results if outcome.why]
    printed = "\n".join(map(str, results))
    assert found == ([model.finds] if model.finds else []), printed
    assert "check-model itself failed" not in printed


def test_each_check_has_a_fault_to_find():
    assert {model.finds for model in FAULTS} == read_checks().keys()


def test_findings_are_printed_with_why_mend_and_counts(tmp_path, capsys):
    (model,) = (model for model in FAULTS if model.finds == "reads-the-values")
    assert print_check(model.save(tmp_path)) == 1
    text = capsys.readouterr().out
    assert "reads-the-values: answers [0] for" in text
    assert "Pitfall: untyped-list" in text and "1 error, 0 advice" in text


def test_a_script_may_call_it_anywhere(tmp_path):
    """The process that checks does not run the script again."""
    script = tmp_path / "check.py"
    script.write_text(
        "import sys\nfrom check_model.command import main\nsys.exit(main())\n"
    )
    command = [sys.executable, script, FAULTLESS[0].save(tmp_path), "--json"]
    printed = json.loads(subprocess.check_output(command))
    assert printed["error"] == 0 and len(printed["results"]) == len(read_checks())


MLMODEL = "flavors: {sklearn: {}, python_function: {loader_module: mlflow.sklearn}}"
NO_MODELS = {
    "nowhere": "no such folder",
    "models:/churn/1": "no store at",
    ".": "no MLmodel in it",
    "other": "not from code, but of flavor",
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_ends_in_one_line(name, tmp_path, monkeypatch, capsys):
    """No store is made on the way."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/MLmodel").write_text(MLMODEL)
    monkeypatch.chdir(tmp_path)
    assert print_check(name) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"check-model: {name}: {NO_MODELS[name]}")
    assert line.count("\n") == 1 and [*tmp_path.iterdir()] == [tmp_path / "other"]


def test_requirements_that_cannot_be_installed_end_in_one_line(
    tmp_path, monkeypatch, capsys
):
    """uv ends with 1 too, as a model with errors does."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    model = Model(None, adds={"requirements.txt": "no-such-package==1"}).save(tmp_path)
    assert print_check(model, env_manager="uv") == 2
    assert "no-such-package" in capsys.readouterr().err


def test_a_model_that_the_store_lacks_is_not_checked_by_uv(tmp_path, monkeypatch):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    Model(None, run={"factor": 2}).save(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with pytest.raises(CheckError, match="nosuch"):
        check_model("models:/nosuch/1", env_manager="uv")


def test_a_secret_of_the_run_is_found_with_uv_too(tmp_path, monkeypatch):
    """The environment that uv makes may be unable to read the store."""
    printed = json.dumps(
        {"results": [{"name": "no-secrets", "status": "ok", "seen": ""}]}
    )
    done = subprocess.CompletedProcess([], 0, printed, "")
    uri = Model("no-secrets", run={"openai_api_key": "x"}).save(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)
    (outcome,) = check_model(uri, env_manager="uv")
    assert outcome[1:3] == ("error", "the run's params: 'openai_api_key'")


PARTS = {
    "agent": [
        "client[a2]; extra == 'net'",
        "loop[back]",
        "other-system; os_name == 'x'",
    ],
    "client": ["short; extra == 'a'", "long; extra == 'a2'"],
    "loop": ["loop[back]; extra == 'back'"],
}


def test_requirements_bring_what_their_extras_and_markers_say(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", PARTS.get)
    lines = ["agent[net]==1", "wheels/own_code-1.0-py3-none-any.whl", "--no-index"]
    brought, absent = brought_by([*named(lines)])
    assert brought == {"agent", "client", "long", "loop", "own-code"} and not absent


def test_a_fault_of_check_model_is_an_error(tmp_path):
    adds = {"serving_input_example.json": "{"}
    results = check_model(Model(None, adds=adds).save(tmp_path))
    (failed,) = (r for r in results if r.name == "example-is-answered")
    assert failed.status == "error" and "report it" in failed.why
    assert failed.seen.startswith("check-model itself failed: JSONDecodeError")


def check_edited(folder, allowed=False, **edits):
    """Check a faultless model after edits that it can't be saved with."""
    place = Path(Model(None).save(folder))
    (place / "model_code.py").write_text(Model(None, **edits).code)
    results = {
        outcome.name: outcome for outcome in check_model(place, allowed, limit=5)
    }
    assert results.keys() == read_checks().keys()
    return results


def test_a_hang_is_a_finding(tmp_path):
    results = check_edited(tmp_path, top="import time", load="time.sleep(60)")
    assert results["loads"][1:3] == ("error", "no end after 5 s")
    assert results["has-signature"].status == "ok"
    assert results["rows-apart"][1:3] == (
        "skipped",
        "not reached: loads: no end after 5 s",
    )


def test_imports_are_looked_up_once(tmp_path):
    """Each look-up takes a second."""
    results = check_edited(tmp_path, top="import yaml\n" * 50)
    assert results["requirements-complete"].status == "ok"


def test_a_crash_is_a_finding(tmp_path):
    results = check_edited(tmp_path, top="import os", predict="os.kill(os.getpid(), 9)")
    assert results["example-is-answered"][1:3] == ("error", "its process crashes")
    assert results["loads"].status == "ok"


@pytest.mark.parametrize("allowed", [False, True])
def test_other_hosts_are_asked_only_on_request(allowed, tmp_path):
    call = "import socket\nsocket.getaddrinfo('example.invalid', 80)"
    outcome = check_edited(tmp_path, allowed, predict=call)["example-is-answered"]
    assert outcome.status == ("error" if allowed else "skipped")
    assert ("--call" in outcome.seen) != allowed
