"""A starter that was unzipped, copied, renamed or moved works at the next `make`.

The environment is this one's: tests of the way "copied out" install a starter's own.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from shared.known_answer import find_faults
from shared.new import starter
from shared.processes import free_port, running_server
from shared.recipes import find

import pytest
import requests

MAKE = ["make", "--no-print-directory", "-o", ".venv/.installed"]
ALONE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "MAKE", "MLFLOW"))
}


def unzip(recipe, folder: Path) -> None:
    """Make the starter as the site's archive holds it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for place, data in starter(recipe, "my_model").items():
            file.writestr(place, data)
    zipfile.ZipFile(archive).extractall(folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))


def make(folder: Path, *targets: str) -> None:
    env = {**ALONE, "YES": "1"}
    command = [*MAKE, *targets]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def serve(folder: Path) -> None:
    """Start `make serve`, ask it the known request, stop it."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [*MAKE, "serve", f"PORT={port}"]
    with running_server(command, folder, f"{address}/ping", folder / "log"):
        body = json.loads((folder / "request.json").read_text())
        reply = requests.post(f"{address}/invocations", json=body, timeout=120)
    assert find_faults(folder, reply.json()) == []


@pytest.mark.verify("moved")
@pytest.mark.parametrize("name", ["circle_area", "openai_call", "clv_composite"])
def test_a_starter_works_wherever_it_is(name, tmp_path):
    spaced, renamed = tmp_path / "a b" / "unzipped", tmp_path / "Renamed-2"
    copied, app = tmp_path / "copied", tmp_path / "app"
    spaced.parent.mkdir()
    unzip(find(name), spaced)
    make(spaced, "log", "smoke", "accept", "test")
    serve(spaced)

    spaced.rename(renamed)  # after logging: the models come along
    make(renamed, "smoke", "accept")
    serve(renamed)

    shutil.copytree(renamed, copied, symlinks=True)  # and the first one is still there
    make(copied, "log", "smoke", "accept")
    places = (copied / ".mlflow/mlflow.db").read_bytes()
    assert str(copied).encode() in places
    assert len([*renamed.glob(".mlflow/artifacts/models/*")]) < len(
        [*copied.glob(".mlflow/artifacts/models/*")]
    )

    not_copied = shutil.ignore_patterns(".mlflow", "build")  # as `COPY . /app`
    shutil.copytree(copied, app, symlinks=True, ignore=not_copied)
    make(app, "log", "smoke", "accept", "test")
    serve(app)
