"""check-model finds each fault of the corpus by its check alone, and no fault else."""

import json
import subprocess
import sys
from pathlib import Path

from shared.check import CheckError, check_model, table
from shared.recipes import ROOT

import mlflow
import pytest
from sklearn.linear_model import LinearRegression

from benchmarks.check_model import FAULTLESS, FAULTS, Model

pytestmark = pytest.mark.filterwarnings("ignore")


# `make test` has a fault of each check and a model of each kind; `make pitfalls` all.
QUICK = [*{model.finds: model for model in FAULTS}.values(), *FAULTLESS[:7]]
CASES = [
    pytest.param(
        model, id=model.name, marks=[] if model in QUICK else pytest.mark.pitfall
    )
    for model in (*FAULTS, *FAULTLESS)
]


@pytest.mark.parametrize("model", CASES)
def test_a_fault_is_found_by_its_check_alone(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "none of yours")
    results = check_model(model.save(tmp_path))
    found = [outcome for outcome in results if outcome.why]
    expected = [model.finds] if model.finds else []
    assert [outcome.name for outcome in found] == expected, "\n".join(map(str, results))


def test_each_check_has_a_fault_to_find():
    assert {model.finds for model in FAULTS} == table().keys()


def command(*words, **more):
    """Run check-model in a process; return its exit code and what it prints."""
    typed = [sys.executable, ROOT / "shared/check.py", *map(str, words)]
    done = subprocess.run(typed, capture_output=True, text=True, **more)
    return done.returncode, done.stdout + done.stderr


def test_the_command_prints_findings_and_counts(tmp_path):
    code, text = command(FAULTLESS[0].save(tmp_path / "a"), "--json")
    printed = json.loads(text)
    assert (code, printed["error"], len(printed["results"])) == (0, 0, len(table()))
    (model,) = (model for model in FAULTS if model.finds == "reads-the-values")
    code, text = command(model.save(tmp_path / "b"))
    assert code == 1 and "reads-the-values: answers [0] for" in text
    assert "pitfalls/#untyped-list" in text and "1 error, 0 advice" in text


@pytest.mark.parametrize("name", ["nowhere", "models:/churn/1", "."])
def test_what_is_no_model_ends_in_one_line(name, tmp_path):
    """No store is made on the way."""
    code, text = command(name, cwd=tmp_path)
    assert code == 2 and text.count("\n") == 1 and f"check-model: {name}: " in text
    assert list(tmp_path.iterdir()) == []


def test_another_flavor_is_not_checked(tmp_path):
    mlflow.sklearn.save_model(LinearRegression().fit([[1]], [1]), tmp_path / "model")
    with pytest.raises(CheckError, match="not from code, but of flavor"):
        check_model(tmp_path / "model")


STOPS = {
    "time.sleep(60)": "no end after 5 s",
    "os.kill(os.getpid(), 9)": "its process crashes",
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("place", ["load", "predict"])
def test_a_hang_or_crash_is_a_finding_and_the_rest_goes_on(place, stop, tmp_path):
    """The model is saved before it stops."""
    folder = Path(Model(None).save(tmp_path))
    broken = Model(None, **{"top": "import os, time", place: stop})
    (folder / "model_code.py").write_text(broken.code)
    results = {outcome.name: outcome for outcome in check_model(folder, limit=5)}
    name = "loads" if place == "load" else "example-is-answered"
    assert results.keys() == table().keys()
    assert (results[name].status, results[name].seen) == ("error", STOPS[stop])
    assert results["rows-apart"].status == "skipped"


def test_other_hosts_are_asked_only_on_request(tmp_path):
    call = "import socket\nsocket.getaddrinfo('example.invalid', 80)"
    folder = Path(Model(None).save(tmp_path))
    (folder / "model_code.py").write_text(Model(None, predict=call).code)
    for allowed, status in ((False, "skipped"), (True, "error")):
        results = {outcome.name: outcome for outcome in check_model(folder, allowed)}
        outcome = results["example-is-answered"]
        assert outcome.status == status and ("--call" in outcome.seen) != allowed
