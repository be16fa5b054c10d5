"""Requests per second of the model server: one worker, two, and two without uvloop.

python -m benchmarks.serving
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import mlflow
import pandas as pd
import requests

from benchmarks.report import Rows, interleave, publish
from recipes.circle_area.driver import HERE, SIGNATURE
from shared.recipes import find

WAYS = {
    "1 worker": {"MLFLOW_MODELS_WORKERS": "1"},
    "2 workers": {"MLFLOW_MODELS_WORKERS": "2"},
    "2 workers, without uvloop": {"MLFLOW_MODELS_WORKERS": "2", "UVICORN_LOOP": "asyncio"},
}


@contextmanager
def server(model: Path, settings: dict[str, str]) -> Iterator[str]:
    """Serve the model; the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn is there
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
        + ["-h", "127.0.0.1", "--env-manager", "local"],
        env={**os.environ, "PATH": path, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError("the server did not start")
            try:
                requests.get(f"{address}/ping", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()


def rates(model: Path, clients: int, each: int) -> Rows:
    """Return requests per second of each way, `clients` at once with that many requests each."""
    body = json.dumps(find("circle_area").json("request.json"))

    def ask(address: str) -> None:  # http.client: a heavier one takes the cores that workers need
        with closing(HTTPConnection(address.removeprefix("http://"), timeout=60)) as connection:
            for _ in range(each):
                head = {"Content-Type": "application/json"}
                connection.request("POST", "/invocations", body, head)
                response = connection.getresponse()
                if response.status != 200:
                    raise RuntimeError(response.read().decode())
                response.read()

    def load(address: str) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, [address] * clients))

    with ExitStack() as servers:
        turns = {}
        for way, settings in WAYS.items():
            address = servers.enter_context(server(model, settings))
            turns[way] = partial(load, address)
        seconds = interleave(turns, 5)
    return [
        {
            "clients": clients,
            "server": way,
            "requests/s": clients * each / time,
            "times one worker": seconds["1 worker"] / time,
        }
        for way, time in seconds.items()
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        example = pd.DataFrame({"diameter": [1.0]})
        mlflow.pyfunc.save_model(
            model,
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=[],
        )
        rows = rates(model, 1, 100) + rates(model, 8, 50)
        publish("serving", {"A model server on loopback": rows}, ["recipes/circle_area"])


if __name__ == "__main__":
    main()
