"""A store that may not be written or read, or that is damaged."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from shared.new import new
from shared.recipes import CookbookError, find
from shared.store import open_store, use_store

import pytest

from tests.conftest import environment

NOBODY = 65534
RIGHTS = {  # of the file, of the folder: what is wrong
    "file to be read only": (0o444, 0o777, "attempt to write a readonly database"),
    "folder to be read only": (
        0o666,
        0o555,
        "attempt to write a readonly database|Permission denied",
    ),
    "file not to be read": (0o000, 0o777, "unable to open database file"),
}


@contextmanager
def as_somebody_else():
    """No mode keeps root from writing: become another user while the block runs."""
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def folder():
    """A folder that everybody may enter; pytest's own is for its user only."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_store_without_rights_is_said_to_be(folder, monkeypatch, rights):
    file = folder / "runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    use_store("circle_area")
    before = file.read_bytes()
    of_file, of_folder, said = RIGHTS[rights]
    (folder / "runs.db.lock").unlink(missing_ok=True)
    file.chmod(of_file)
    folder.chmod(of_folder)
    for use in (open_store, lambda: use_store("circle_area")):
        with (
            as_somebody_else(),
            pytest.raises(CookbookError, match=f"^{file}: ({said})$"),
        ):
            use()
    folder.chmod(0o755)
    assert file.read_bytes() == before


def test_no_store_where_none_can_be_made(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/new/runs.db")
    with as_somebody_else():
        assert not open_store()
        folder_is = f"^{folder}/new/runs.db: Permission denied$"
        if os.access(folder, os.W_OK, effective_ids=True):
            pytest.fail("the other user may write here")
        with pytest.raises(CookbookError, match=folder_is):
            use_store("circle_area")
    assert list(folder.iterdir()) == []


def test_a_starter_says_the_same_of_its_store(tmp_path):
    starter = new(find("circle_area"), tmp_path / "tank_volume")
    store = starter / ".mlflow/mlflow.db"
    store.parent.mkdir()
    store.write_bytes(b"no database" * 1000)
    for words in (
        ["driver.py"],
        ["-m", "shared.known_answer", "models:/tank_volume/latest"],
    ):
        words = [sys.executable, *words]
        done = subprocess.run(
            words, cwd=starter, env=environment(starter), capture_output=True
        )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 1 and said.count(str(store)) == 1, said
        assert f"{store}: file is not a database" in said
    assert store.read_bytes() == b"no database" * 1000
