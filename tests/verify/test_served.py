"""Cell `served`: MLflow's scoring server on loopback, as `make serve` starts it.

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
import requests

from tests.verify.conftest import Logged

pytestmark = pytest.mark.verify("served")
CIRCLE = find("circle_area")


def refuse(constant: str):
    raise AssertionError(f"{constant} is not JSON")


@contextmanager
def serving(logged, tmp_path, line: str):
    """Run a line that serves a model, on a free port; the address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = line.replace(
        "make serve", f"make --assume-old=.venv/.recipes serve PORT={port}"
    )
    with running_server(
        ["bash", "-c", command], logged.checkout, f"{address}/ping", tmp_path / "log"
    ):
        yield address


def run_as_printed(recipe, page: str, logged, address: str) -> None:
    """Run a page's curl line and its Python client; both must get the known answer."""
    page = page.replace("http://127.0.0.1:5001", address)
    (curl,) = re.findall(r"^curl (--json .*/invocations)$", page, re.M)
    (client,) = re.findall(r"^```python\n([^`]*/invocations[^`]*)```", page, re.M)
    client += "\nimport json; print(json.dumps(answer))"
    for command in ["bash", "-c", f"curl -sS {curl}"], [sys.executable, "-c", client]:
        said = subprocess.check_output(command, cwd=logged.checkout, text=True)
        answer = json.loads(said.splitlines()[-1], parse_constant=refuse)
        assert find_faults(recipe.path, answer) == []


def test_served(recipe, logged, tmp_path):
    with serving(logged, tmp_path, f"make serve RECIPE={recipe.name}") as address:
        page = (recipe.path / "README.md").read_text()
        run_as_printed(recipe, page, logged, address)


@pytest.mark.verify("served", recipe="circle_area")
def test_what_the_guide_says(logged, tmp_path):
    """Two workers; the recipe's own requests get the known answer."""
    guide = (ROOT / "docs/guides/serve.md").read_text()
    (line,) = re.findall(r"`(MLFLOW_MODELS_WORKERS=2 make serve .*?)`", guide)
    with serving(logged, tmp_path, line) as address:
        run_as_printed(CIRCLE, (CIRCLE.path / "README.md").read_text(), logged, address)


@pytest.mark.verify("served", recipe="circle_area")
def test_too_long_is_a_504(logged, fresh_checkout, tmp_path):
    """The guide's timeout ends a slow request, as its table says."""
    guide = (ROOT / "docs/guides/serve.md").read_text()
    status, name = re.search(
        r"^\| (\d+) \| longer than `(MLFLOW\w+)`", guide, re.M
    ).groups()
    slow = Logged(fresh_checkout("slow"))
    code = slow.checkout / "recipes/circle_area/model_code.py"
    text = code.read_text()
    code.write_text(
        text.replace("return np.pi", "__import__('time').sleep(5)\n    return np.pi")
    )
    assert code.read_text() != text
    assert slow.make("log", "RECIPE=circle_area").returncode == 0
    with serving(slow, tmp_path, f"{name}=1 make serve RECIPE=circle_area") as address:
        asked = CIRCLE.json("request.json")
        response = requests.post(f"{address}/invocations", json=asked, timeout=120)
        assert response.status_code == int(status) and "Traceback" not in response.text
