"""MLflow's scoring server on loopback, as `make serve` starts it.

Many clients at once, and hostile input, are in tests/torture.
"""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

from shared.known_answer import find_faults
from shared.processes import free_port, running_server
from shared.recipes import ROOT, find

import pytest

pytestmark = pytest.mark.verify
GUIDE = (ROOT / "docs/guides/serve.md").read_text()
CIRCLE = find("circle_area")


@contextmanager
def serving(logged, tmp_path, line: str):
    """Run a line that serves a model, on a free port; yield the address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    make = f"make -o .venv/.recipes serve PORT={port}"
    command = ["bash", "-c", line.replace("make serve", make)]
    log = tmp_path / "log"
    with running_server(command, logged, f"{address}/ping", log):
        yield address


def refuse(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def test_served(recipe, logged, tmp_path):
    """The page's curl line gets the known answer, its Python client an answer."""
    line = f"make serve RECIPE={recipe.name}"
    if recipe == CIRCLE:  # the guide's two workers
        (line,) = re.findall(r"`(MLFLOW_MODELS_WORKERS=2 make serve .*?)`", GUIDE)
    with serving(logged, tmp_path, line) as address:
        page = (recipe.path / "README.md").read_text()
        page = page.replace("http://127.0.0.1:5001", address)
        (curl,) = re.findall(r"^curl (--json .*/invocations)$", page, re.M)
        (client,) = re.findall(r"^```python\n([^`]*/invocations[^`]*)```", page, re.M)
        command = ["bash", "-c", f"curl -sS {curl}"]
        printed = subprocess.check_output(command, cwd=logged, text=True)
        answer = json.loads(printed, parse_constant=refuse)
        assert find_faults(recipe.path, answer) == []
        subprocess.run([sys.executable, "-c", client], cwd=logged, check=True)


def test_client_of_reference_qa_prints_what_its_page_shows(logged, tmp_path):
    recipe = find("reference_qa")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = ["make", "-o", ".venv/.recipes", "serve-agent", f"RECIPE={recipe.name}"]
    log = tmp_path / "log"
    with running_server([*command, f"PORT={port}"], logged, f"{address}/health", log):
        client = (recipe.path / "client.py").read_text()
        client = client.replace("http://127.0.0.1:5001", address)
        python = [sys.executable, "-c", client]
        printed = subprocess.check_output(python, cwd=logged, text=True)
    printed = re.sub(r" +$", "", printed, flags=re.M)
    assert f"```text\n{printed}```" in (recipe.path / "README.md").read_text()
