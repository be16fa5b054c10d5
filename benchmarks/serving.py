"""Requests per second of the model server: one worker, two, and two without uvloop."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection

from shared.recipes import find

import mlflow
import pandas as pd

from benchmarks.report import Rows, interleave, publish, served
from recipes.circle_area.driver import HERE, SIGNATURE

WAYS = {
    "1 worker": {"MLFLOW_MODELS_WORKERS": "1"},
    "2 workers": {"MLFLOW_MODELS_WORKERS": "2"},
    "2 workers, without uvloop": {
        "MLFLOW_MODELS_WORKERS": "2",
        "UVICORN_LOOP": "asyncio",
    },
}
BODY = json.dumps(find("circle_area").json("request.json"))


def ask(address: str, times: int) -> None:
    """Ask over one connection, with http.client: it leaves the cores to the workers."""
    with closing(HTTPConnection(address, timeout=60)) as connection:
        for _ in range(times):
            connection.request(
                "POST", "/invocations", BODY, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            said = response.read()
            if response.status != 200:
                raise RuntimeError(said.decode())


def load(address: str, clients: int, each: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, [address] * clients, [each] * clients))


def rates(model: str, clients: int, each: int) -> Rows:
    """Return the requests a second of each way, with `clients` at once."""
    command = ["models", "serve", "-m", model, "--env-manager", "local"]
    with ExitStack() as servers:
        turns = {}
        for way, settings in WAYS.items():
            address = servers.enter_context(served(command, "ping", **settings))
            turns[way] = partial(load, address, clients, each)
        seconds = interleave(turns, 5)
    rows: Rows = []
    for way, time in seconds.items():
        rows.append(
            {"clients": clients, "server": way, "requests/s": clients * each / time}
        )
        rows[-1]["times one worker"] = seconds["1 worker"] / time
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            model := f"{folder}/model",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=pd.DataFrame({"diameter": [1.0]}),
            pip_requirements=[],
        )
        rows = rates(model, 1, 100) + rates(model, 8, 50)
    publish("serving", {"A model server on loopback": rows}, ["recipes/circle_area"])
