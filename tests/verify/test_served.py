"""Cell `served`: MLflow's scoring server on loopback, as `make serve` starts it."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from shared.recipes import ROOT, find
from shared.smoke import differences
from tests.verify.conftest import Logged, assert_known_answer
from tests.verify.processes import free_port, running

pytestmark = pytest.mark.verify("served")
CIRCLE = find("circle_area")


def refuse(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def ask(address: str, body: str) -> requests.Response:
    json_type = {"Content-Type": "application/json"}
    return requests.post(f"{address}/invocations", body, headers=json_type, timeout=120)


def answer(response: requests.Response):
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_constant=refuse)


def parts(recipe) -> list[tuple[str, list]]:
    """Return eight bodies that differ, and the answer that each must get.

    Rows for themselves; where the rows are one table, the table with its first column renamed.
    """
    asked, wanted = recipe.json("request.json"), recipe.json("response.json")
    if "input" in asked:  # an agent takes one question, and answers with one object
        wanted.pop("tolerance", None)
        return [(json.dumps(asked), wanted)] * 8
    wanted, split = wanted["predictions"], asked["dataframe_split"]
    if len(split["data"]) != len(wanted):
        old = split["columns"][0]
        texts = [(json.dumps(asked), json.dumps(wanted))] * 8
        named = [[t.replace(f'"{old}"', f'"{old}{i}"') for t in two] for i, two in enumerate(texts)]
        return [(body, json.loads(answer)) for body, answer in named]
    rows = [i % len(wanted) for i in range(8)]
    one = [{**split, "index": [i], "data": [split["data"][i]]} for i in rows]  # keeps its number
    return [
        (json.dumps({**asked, "dataframe_split": part}), [wanted[i]])
        for part, i in zip(one, rows, strict=True)
    ]


@contextmanager
def serving(logged, tmp_path, line: str):
    """Run a line that serves a model, on a free port; the address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = line.replace("make serve", f"make --assume-old=.venv/.recipes serve PORT={port}")
    with running(["bash", "-c", command], logged.checkout, f"{address}/ping", tmp_path / "log"):
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
        assert_known_answer(recipe, answer)


def test_served(recipe, logged, tmp_path):
    with serving(logged, tmp_path, f"make serve RECIPE={recipe.name}") as address:
        page = (recipe.path / "README.md").read_text()
        run_as_printed(recipe, page, logged, address)

        # Eight at once, each with a question of its own.
        asked = parts(recipe)
        with ThreadPoolExecutor(8) as clients:
            said = list(clients.map(lambda part: answer(ask(address, part[0])), asked * 2))
        tolerance = recipe.json("response.json").get("tolerance", {})
        for got, (_, want) in zip(said, asked * 2, strict=True):
            want = {"predictions": want} if isinstance(want, list) else want
            assert differences(got, want, tolerance) == []

        # Refusals: said in words, and without the inside of the server.
        split = recipe.json("request.json").get("dataframe_split", {"data": []})
        for bad in (
            {"dataframe_split": {"columns": ["no_such_column"], "data": [["x"]]}},
            {"no_such_key": split},
            {"dataframe_split": {**split, "data": [row[:-1] for row in split["data"]]}},
        ):
            response = ask(address, json.dumps(bad))
            assert response.status_code == 400, f"{bad}: {response.text}"
            assert response.json()["message"] and "Traceback" not in response.text, response.text
        response = ask(address, '{"dataframe_split": ')
        assert response.status_code == 400 and "Traceback" not in response.text


@pytest.mark.verify("served", recipe="circle_area")
def test_what_the_guide_says(logged, tmp_path):
    """Two workers, the curl line and the client as the guide prints them."""
    guide = (ROOT / "docs/guides/serve.md").read_text()
    (line,) = re.findall(r"`(MLFLOW_MODELS_WORKERS=2 make serve .*?)`", guide)
    with serving(logged, tmp_path, line) as address:
        run_as_printed(CIRCLE, guide, logged, address)


@pytest.mark.verify("served", recipe="circle_area")
def test_too_long_is_a_504(logged, fresh_checkout, tmp_path):
    """As the guide's table says, with the timeout that it names; ours with a sleep in it."""
    guide = (ROOT / "docs/guides/serve.md").read_text()
    status, name = re.search(r"^\| (\d+) \| longer than `(MLFLOW\w+)`", guide, re.M).groups()
    slow = Logged(fresh_checkout("slow"))
    code = slow.checkout / "recipes/circle_area/model_code.py"
    text = code.read_text()
    code.write_text(text.replace("return np.pi", "__import__('time').sleep(5)\n    return np.pi"))
    assert code.read_text() != text
    assert slow.make("log", "RECIPE=circle_area").returncode == 0
    with serving(slow, tmp_path, f"{name}=1 make serve RECIPE=circle_area") as address:
        response = ask(address, json.dumps(CIRCLE.json("request.json")))
        assert response.status_code == int(status) and "Traceback" not in response.text
