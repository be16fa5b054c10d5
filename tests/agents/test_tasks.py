"""The reference answers of the tasks pass check-model; the wrong ones are found out."""

import multiprocessing
import os
import runpy
import shutil
import sys
from pathlib import Path

from shared.check import check_model

import pytest
import yaml

TASKS = sorted(path.parent for path in Path(__file__).parent.glob("*/task.md"))
PROCESSES = multiprocessing.get_context("forkserver")  # which imports MLflow once
PROCESSES.set_forkserver_preload(["mlflow.pyfunc"])


def log(folder: Path) -> None:
    """Run the answer's log.py, in a process of its own."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    runpy.run_path("log.py")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("answer", ["right", "wrong"])
def test_check_model_judges_an_answer(task, answer, tmp_path, monkeypatch):
    """A wrong answer has the files of the right one that it doesn't bring."""
    for part in ("given", "right", answer):
        if (task / part).is_dir():
            shutil.copytree(task / part, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SHOP_API_KEY", "none of yours")
    process = PROCESSES.Process(target=log, args=[tmp_path])
    process.start()
    process.join()
    results = check_model(str(tmp_path / "model"))
    found = [result.name for result in results if result.why]
    head = yaml.safe_load((task / "task.md").read_text("utf-8").split("---")[1])
    expected = head["finds"].split() if answer == "wrong" else []
    assert found == expected, "\n".join(map(str, results))
