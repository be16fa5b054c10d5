"""Cell `served`: MLflow's scoring server on loopback, as `make serve` starts it."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from shared.recipes import ROOT
from shared.smoke import differences
from tests.verify.conftest import assert_known_answer
from tests.verify.processes import free_port, running

pytestmark = pytest.mark.verify("served")


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
    asked, wanted = recipe.json("request.json"), recipe.json("response.json")["predictions"]
    split = asked["dataframe_split"]
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


def test_served(recipe, logged, tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["make", "--assume-old=.venv/.recipes", "serve", f"RECIPE={recipe.name}"]
    with running([*words, f"PORT={port}"], logged.checkout, f"{address}/ping", tmp_path / "log"):
        # The line on the recipe's page, as it is printed there.
        page = (recipe.path / "README.md").read_text()
        line = re.search(r"^curl .*:5001/invocations$", page, re.M)
        assert line, f"recipes/{recipe.name}/README.md gives no curl line"
        curl = line[0].replace(":5001", f":{port}").replace("curl ", "curl -sS ", 1)
        said = subprocess.check_output(["bash", "-c", curl], cwd=logged.checkout, text=True)
        assert_known_answer(recipe, json.loads(said, parse_constant=refuse))

        # The Python client of the guide.
        guide = (ROOT / "docs/guides/serve.md").read_text()
        client = re.search(r"```python\n(.*?)```", guide, re.S)[1]
        client = client.replace(":5001", f":{port}").replace("circle_area", recipe.name)
        said = subprocess.check_output(
            [sys.executable, "-c", f"{client}\nimport json; print(json.dumps(answer))"],
            cwd=logged.checkout,
            text=True,
        )
        assert_known_answer(recipe, json.loads(said.splitlines()[-1], parse_constant=refuse))

        # Eight at once, each with a question of its own.
        asked = parts(recipe)
        with ThreadPoolExecutor(8) as clients:
            said = list(clients.map(lambda part: answer(ask(address, part[0])), asked * 2))
        tolerance = recipe.json("response.json").get("tolerance", {})
        for got, (_, want) in zip(said, asked * 2, strict=True):
            assert differences(got, {"predictions": want}, tolerance) == []

        # Refusals: said in words, and without the inside of the server.
        split = recipe.json("request.json")["dataframe_split"]
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
