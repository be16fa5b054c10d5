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
import requests

from tests.verify.conftest import Logged

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
    with running_server(command, logged.checkout, f"{address}/ping", log):
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
        printed = subprocess.check_output(command, cwd=logged.checkout, text=True)
        answer = json.loads(printed, parse_constant=refuse)
        assert find_faults(recipe.path, answer) == []
        subprocess.run([sys.executable, "-c", client], cwd=logged.checkout, check=True)


def test_too_long_is_a_504(fresh_checkout, tmp_path):
    """The guide's timeout ends a slow request, as its table says."""
    row = re.search(r"^\| (\d+) \| longer than `(MLFLOW\w+)`", GUIDE, re.M)
    status, name = row.groups()
    slow = Logged(fresh_checkout("slow"))
    code = slow.checkout / "recipes/circle_area/model_code.py"
    fast = "    return np.pi"
    assert fast in code.read_text()
    sleep = "    import time\n    time.sleep(5)\n"
    code.write_text(code.read_text().replace(fast, sleep + fast))
    assert slow.make("log", "RECIPE=circle_area").returncode == 0
    with serving(slow, tmp_path, f"{name}=1 make serve RECIPE=circle_area") as address:
        body = CIRCLE.json("request.json")
        response = requests.post(f"{address}/invocations", json=body, timeout=120)
        assert response.status_code == int(status) and "Traceback" not in response.text
