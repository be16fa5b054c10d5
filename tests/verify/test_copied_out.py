"""A recipe copied out, in an environment of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from shared.known_answer import find_faults
from shared.new import new
from shared.processes import free_port, running_server
from shared.recipes import ROOT, find

import pytest

from tests.conftest import blocks

# What is on the PATH but for this checkout; first of all the Python that made its
# environment.
PATH = os.pathsep.join(
    place
    for place in [f"{sys.base_prefix}/bin", *os.environ["PATH"].split(os.pathsep)]
    if not place.startswith(str(ROOT))
)


def alone(words, folder):
    """Run words with nothing of this checkout in reach."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(
            ("PYTHON", "VIRTUAL_ENV", "MAKE", "MLFLOW", "PYTEST", "UV_BUILD")
        )
    }
    env = {**kept, "PATH": PATH}
    return subprocess.run(words, cwd=folder, env=env, stdout=-1, stderr=-2, text=True)


def check(starter: Path, said: str) -> None:
    """The test passed: a model was logged by the starter's own helpers."""
    assert "1 passed" in said, said
    imported = "import shared, sys; print(shared.__file__, *sys.path, sep='\\n')"
    found = alone([".venv/bin/python", "-c", imported], starter).stdout
    assert str(starter / "shared") in found and str(ROOT) not in found


@pytest.mark.verify("copied out", recipe="circle_area")
def test_what_the_guide_says(fresh_checkout):
    """The guide's commands as printed."""
    checkout, own = (
        fresh_checkout("copied out"),
        'make() { command make -o .venv/.recipes "$@"; }',
    )
    commands = f"{own}\n{blocks('copy-a-recipe', 'bash')[0]}"
    done = alone(["bash", "-ec", commands], checkout)
    assert done.returncode == 0 and "the known answer" in done.stdout, done.stdout
    check(starter := checkout.parent / "tank_volume", done.stdout)
    assert (starter / ".mlflow/mlflow.db").is_file()


@pytest.mark.verify("copied out")
def test_starter_stands_alone(recipe, tmp_path):
    to = new(recipe, tmp_path / "tank volume" / "tank_volume")
    done = alone(["make", "test"], to)
    assert done.returncode == 0, done.stdout
    check(to, done.stdout)


@pytest.mark.verify("starter served", recipe="reference_qa")
def test_a_starter_serves_itself_with_its_local_service(tmp_path):
    """The lines of its README, on a free port."""
    to = new(recipe := find("reference_qa"), tmp_path / "answers")
    logged = alone(["make", "log"], to)
    assert logged.returncode == 0, logged.stdout
    page = (to / "README.md").read_text()
    (lines,) = re.findall(r"## Serve it\n+```bash\n(.*?)```", page, re.S)
    (curl,) = re.findall(r"`(curl --json .*?)`", page)
    address = f"http://127.0.0.1:{(port := free_port())}"
    assert "--port 5001" in lines and "127.0.0.1:5001" in curl
    command = ["bash", "-ec", lines.replace("--port 5001", f"--port {port}")]
    with running_server(command, to, f"{address}/ping", tmp_path / "log"):
        call = curl.replace("http://127.0.0.1:5001", address)
        reply = alone(["bash", "-ec", f"{call} -sS"], to).stdout
    answer = json.loads(reply)
    assert find_faults(recipe.path, answer) == []


@pytest.mark.verify("copied by hand", recipe="circle_area")
def test_by_hand(fresh_checkout):
    """The commands of the guide, "By hand", as printed there."""
    checkout = fresh_checkout("by hand")
    guide = (checkout / "docs/guides/copy-a-recipe.md").read_text()
    block = re.search(r"## By hand\n.*?```bash\n(.*?)```", guide, re.S)
    done = alone(["bash", "-ec", block[1]], checkout)
    assert done.returncode == 0, done.stdout
    assert "346.360590" in done.stdout and "the known answer" in done.stdout
    assert (checkout.parent / "my_model/.mlflow/mlflow.db").is_file()
