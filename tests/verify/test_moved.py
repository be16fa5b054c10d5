"""A starter that was unzipped, renamed, moved or copied works at the next `make`.

The environment is this one's; tests/verify/test_copied_out.py installs a starter's own.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path

from shared.known_answer import find_faults
from shared.processes import free_port, running_server

import pytest
import requests

from tests.conftest import make, make_in_starter

pytestmark = pytest.mark.verify


def serve(starter: Path) -> None:
    """Start `make serve`, ask it the known request, stop it."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = ["make", "-s", "-o", ".venv/.installed", "serve", f"PORT={port}"]
    with running_server(command, starter, f"{address}/ping", starter / "log"):
        body = json.loads((starter / "request.json").read_text())
        reply = requests.post(f"{address}/invocations", json=body, timeout=120)
    assert find_faults(starter, reply.json()) == []


@pytest.fixture(scope="module")
def archives(fresh_checkout) -> Path:
    """Return the folder of the starters to download."""
    checkout = fresh_checkout("archives")
    assert make(checkout, "starters").returncode == 0
    return checkout / "build/starters"


@pytest.mark.parametrize("name", ["circle_area", "openai_call", "clv_composite"])
def test_a_starter_works_wherever_it_is(name, archives, tmp_path):
    zipfile.ZipFile(archives / f"{name}.zip").extractall(tmp_path / "a b")
    unzipped = tmp_path / "a b" / "my_model"
    (unzipped / ".venv").symlink_to(Path(sys.prefix))
    make_in_starter(unzipped, "log smoke")

    renamed = unzipped.rename(tmp_path / "Renamed-2")  # its models come along
    make_in_starter(renamed, "smoke accept")

    copied = shutil.copytree(renamed, tmp_path / "copied", symlinks=True)
    make_in_starter(copied, "log smoke test")  # and the first one is still there
    models = ".mlflow/artifacts/models/*"
    assert len([*renamed.glob(models)]) < len([*copied.glob(models)])
    serve(copied)


def test_a_checkout_works_after_a_move(fresh_checkout, tmp_path):
    checkout = fresh_checkout("before")
    assert make(checkout, "log", "RECIPE=circle_area").returncode == 0
    moved = checkout.rename(tmp_path / "moved checkout")
    done = make(moved, "smoke", "RECIPE=circle_area")
    assert done.returncode == 0, done.stdout + done.stderr
