"""Each recipe's "When you copy it", performed word for word on a fresh starter.

The edits are data, tests/copies/<recipe>.yaml: what the page says, and what somebody
who follows it would do; another way through the same list is <recipe>.<way>.yaml. In
this environment; `make verify` installs a starter's own.
"""

import re
import subprocess
import sys
from pathlib import Path

from shared.new import write_starter
from shared.recipes import ROOT, find

import pytest
import yaml

from tests.conftest import make_in_starter

COPIES = sorted((ROOT / "tests/copies").glob("*.yaml"))
every_copy = pytest.mark.parametrize("file", COPIES, ids=lambda file: file.stem)


@every_copy
def test_the_edits_are_those_of_the_page(file):
    page = (find(file.name.split(".")[0]).path / "README.md").read_text()
    section = re.search(r"^## When you copy it\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
    items = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\n\n|\Z)", section, re.M | re.S)
    steps = [step["says"].split() for step in yaml.safe_load(file.read_text())["steps"]]
    assert 0 < len(items) <= 6
    assert [int(number) for number, _ in items] == [*range(1, len(items) + 1)]
    assert [text.split() for _, text in items] == steps


def perform(edit: dict, starter: Path) -> None:
    """Do what a step says: run Python, write a file, or replace a text in it."""
    if "python" in edit:
        words = [starter / ".venv/bin/python", "-c", edit["python"]]
        subprocess.run(words, cwd=starter, check=True)
        return
    file = starter / edit["file"]
    text = edit.get("write")
    if text is None:
        text = file.read_text()
        assert text.count(edit["replace"]) == 1, f"{file} has not once: {edit}"
        text = text.replace(edit["replace"], edit["with"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.verify
@every_copy
def test_a_copy_works_at_the_first_try(file, tmp_path):
    copy = yaml.safe_load(file.read_text())
    starter = write_starter(find(file.name.split(".")[0]), tmp_path / copy["to"])
    (starter / ".venv").symlink_to(Path(sys.prefix))
    for step in copy["steps"]:
        for edit in step["edits"]:
            perform(edit, starter)
    printed = make_in_starter(starter, "log accept test")
    assert "1 passed" in printed, printed
