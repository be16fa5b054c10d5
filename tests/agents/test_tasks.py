"""check-model passes the right answer of each task and finds the fault of the wrong."""

import multiprocessing
import os
import runpy
import shutil
import sys
from pathlib import Path

from check_model import check_model

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


def edit(file: Path, edits: dict[str, str]) -> None:
    """Replace each text, which the file has once, by another."""
    text = file.read_text("utf-8")
    for old, new in edits.items():
        assert text.count(old) == 1, f"{file.name} has not once: {old}"
        text = text.replace(old, new)
    file.write_text(text, "utf-8")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("answer", ["right", "wrong"])
def test_check_model_judges_an_answer(task, answer, tmp_path, monkeypatch):
    """The wrong answer is the right one with the edits of the task's front matter."""
    front_matter = yaml.safe_load((task / "task.md").read_text("utf-8").split("---")[1])
    for part in ("given", "right"):
        if (task / part).is_dir():
            shutil.copytree(task / part, tmp_path, dirs_exist_ok=True)
    if answer == "wrong":
        for file, edits in front_matter["wrong"].items():
            edit(tmp_path / file, edits)
    monkeypatch.setenv("SHOP_API_KEY", "none of yours")
    process = PROCESSES.Process(target=log, args=[tmp_path])
    process.start()
    process.join()
    results = check_model(str(tmp_path / "model"))
    named = [result.name for result in results if result.why]
    expected = front_matter["finds"].split() if answer == "wrong" else []
    assert named == expected, "\n".join(map(str, results))
