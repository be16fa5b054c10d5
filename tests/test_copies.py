"""Each recipe's "When you copy it", performed word for word on a fresh starter.

The edits are data, tests/copies/<recipe>.yaml: what the page says, and what somebody
who follows it would do; another way through the same list is <recipe>.<way>.yaml. In
this environment; `make verify` installs a starter's own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from shared.new import new
from shared.recipes import ROOT, find

import pytest
import yaml

COPIES = sorted((ROOT / "tests/copies").glob("*.yaml"))
every_copy = pytest.mark.parametrize("file", COPIES, ids=lambda file: file.stem)


def recipe_of(file: Path) -> str:
    return file.name.split(".")[0]


def folded(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@every_copy
def test_the_edits_are_those_of_the_page(file):
    page = (ROOT / "recipes" / recipe_of(file) / "README.md").read_text()
    section = re.search(r"^## When you copy it\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
    items = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\n\n|\Z)", section, re.M | re.S)
    steps = yaml.safe_load(file.read_text())["steps"]
    assert 0 < len(items) <= 6
    assert [folded(item) for item in items] == [folded(step["says"]) for step in steps]


def perform(edit: dict, starter: Path) -> None:
    if "python" in edit:
        words = [starter / ".venv/bin/python", "-c", edit["python"]]
        subprocess.run(words, cwd=starter, check=True)
    elif "write" in edit:
        place = starter / edit["file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(edit["write"])
    else:
        text = (starter / edit["file"]).read_text()
        assert text.count(edit["replace"]) == 1, (
            f"{edit['file']} has not once: {edit['replace']}"
        )
        (starter / edit["file"]).write_text(text.replace(edit["replace"], edit["with"]))


@pytest.mark.verify("copied and changed")
@every_copy
def test_a_copy_works_at_the_first_try(file, tmp_path):
    copy = yaml.safe_load(file.read_text())
    starter = new(find(recipe_of(file)), tmp_path / copy["to"])
    (starter / ".venv").symlink_to(Path(sys.prefix))
    for step in copy["steps"]:
        for edit in step["edits"]:
            perform(edit, starter)
    make = ["make", "-o", ".venv/.installed", "log", "accept", "test"]
    alone = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "MAKE", "MLFLOW"))
    }
    how_run = {"cwd": starter, "env": {**alone, "YES": "1"}, "stdout": -1, "stderr": -2}
    done = subprocess.run(make, text=True, **how_run)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


MISTAKES = [file for file in COPIES if "mistakes" in yaml.safe_load(file.read_text())]


@pytest.mark.verify("copied with mistakes")
@pytest.mark.parametrize("file", MISTAKES, ids=lambda file: file.stem)
def test_a_mistake_ends_in_a_sentence(file, tmp_path):
    """Unless it `works`, nothing is logged: there isn't even a store."""
    copy = yaml.safe_load(file.read_text())
    starter = new(find(file.stem), tmp_path / copy["to"])
    (starter / ".venv").symlink_to(Path(sys.prefix))
    for step in copy["steps"]:
        for edit in step["edits"]:
            perform(edit, starter)
    for mistake in copy["mistakes"]:
        place = starter / mistake["edit"]["file"]
        before = place.read_text()
        perform(mistake["edit"], starter)
        store = tmp_path / "store.db"
        done = subprocess.run(
            [sys.executable, "driver.py"],
            cwd=starter,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}"},
            text=True,
            capture_output=True,
        )
        printed = done.stdout + done.stderr
        works = mistake.get("works", False)
        assert mistake["prints"] in printed and "Traceback" not in printed
        assert (done.returncode == 0, store.exists()) == (works, works), printed
        place.write_text(before)
