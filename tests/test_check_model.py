"""check-model finds each fault of its corpus by one check alone, and no fault else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from shared.check import check_model, print_check, table

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
    assert "check-model failed" not in printed


def test_each_check_has_a_fault_to_find():
    assert {model.finds for model in FAULTS} == table().keys()


def test_findings_are_printed_with_why_mend_and_counts(tmp_path, capsys):
    (model,) = (model for model in FAULTS if model.finds == "reads-the-values")
    assert print_check(model.save(tmp_path)) == 1
    text = capsys.readouterr().out
    assert "reads-the-values: answers [0] for" in text
    assert "Pitfall: untyped-list" in text and "1 error, 0 advice" in text


def test_a_script_may_call_it_anywhere(tmp_path):
    """The process that checks does not run the script again."""
    script = tmp_path / "check.py"
    script.write_text("import sys\nfrom shared.check import main\nsys.exit(main())\n")
    command = [sys.executable, script, FAULTLESS[0].save(tmp_path), "--json"]
    printed = json.loads(subprocess.check_output(command))
    assert printed["error"] == 0 and len(printed["results"]) == len(table())


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


def check_edited(folder, allowed=False, **edits):
    """Check a faultless model after edits that it can't be saved with."""
    place = Path(Model(None).save(folder))
    (place / "model_code.py").write_text(Model(None, **edits).code)
    results = {
        outcome.name: outcome for outcome in check_model(place, allowed, limit=5)
    }
    assert results.keys() == table().keys()
    return results


def test_a_hang_is_a_finding(tmp_path):
    results = check_edited(tmp_path, top="import time", load="time.sleep(60)")
    assert results["loads"][1:3] == ("error", "no end after 5 s")
    assert results["has-signature"].status == "ok"
    assert results["rows-apart"][1:3] == ("skipped", "not reached: loads has no end")


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
