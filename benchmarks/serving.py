"""MLflow's server: its workers, and beside it a route of one's own."""

import base64
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT, find, newest_model

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
JSON = "application/json"
BYTES = "application/octet-stream"
BODY = json.dumps(find("circle_area").json("request.json"))


def ask(address: str, times: int) -> None:
    """Ask over one connection, with http.client: it leaves the cores to the workers."""
    with closing(HTTPConnection(address, timeout=60)) as connection:
        for _ in range(times):
            connection.request("POST", "/invocations", BODY, {"Content-Type": JSON})
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
    for way, taken in seconds.items():
        rows.append(
            {"clients": clients, "server": way, "requests/s": clients * each / taken}
        )
        rows[-1]["rate relative to one worker"] = seconds["1 worker"] / taken
    return rows


@contextmanager
def own_route(models: str) -> Iterator[str]:
    """Serve benchmarks/route.py; yield its host and port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.route:app"]
    command += ["--port", str(port), "--log-level", "error"]
    address = f"127.0.0.1:{port}"
    log = Path(models) / "route.txt"
    with running_server(
        command, ROOT, f"http://{address}/ping", log, ROUTE_MODELS=models
    ):
        yield address


def milliseconds(address: str, path: str, body: bytes, kind: str, times: int) -> float:
    """Return the median time of a request over one connection."""
    taken = []
    with closing(HTTPConnection(address, timeout=60)) as connection:
        for _ in range(times):
            start = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            text = response.read()
            taken.append(1000 * (time.perf_counter() - start))
            if response.status != 200:
                raise RuntimeError(text.decode())
    return statistics.median(taken)


def routes(models: str, rounds: int = 3) -> Rows:
    """Return what a request costs on MLflow's server and on a route of one's own."""
    cases = []  # what is asked; model; MLflow's body; the route, its body and its kind
    for count in (1, 1000):
        table = {"columns": ["diameter"], "data": [[1.5]] * count}
        own = json.dumps([1.5] * count).encode()
        cases.append((f"rows: {count}", "circle_area", table, "/areas", own, JSON))
    picture = find("canny_edge_qc").json("request.json")["dataframe_split"]["data"][0]
    table = {"columns": ["image"], "data": [picture]}
    own = base64.b64decode(picture[0])
    cases.append(("one picture", "canny_edge_qc", table, "/verdict", own, BYTES))
    rows: Rows = []
    with ExitStack() as servers:
        route = servers.enter_context(own_route(models))
        for asked, model, table, path, body, kind in cases:
            command = ["models", "serve", "-m", f"{models}/{model}"]
            command += ["--env-manager", "local"]
            plain = json.dumps({"dataframe_split": table}).encode()
            with served(command, "ping") as address:
                theirs, ours = [], []
                for _ in range(rounds):
                    theirs.append(
                        milliseconds(address, "/invocations", plain, JSON, 50)
                    )
                    ours.append(milliseconds(route, path, body, kind, 50))
            rows.append(
                {
                    "a request with": asked,
                    "MLflow's server, ms": statistics.median(theirs),
                    "min-max of 3 runs": f"{min(theirs):.1f} - {max(theirs):.1f}",
                    "own route, ms": statistics.median(ours),
                    "min-max of 3 runs ": f"{min(ours):.1f} - {max(ours):.1f}",
                    "times faster": statistics.median(theirs) / statistics.median(ours),
                }
            )
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
        shutil.copytree(model, f"{folder}/circle_area")
        mlflow.artifacts.download_artifacts(
            newest_model(find("canny_edge_qc")), dst_path=f"{folder}/canny_edge_qc"
        )
        tables = {
            "A model server on loopback": rows,
            "A request to MLflow's server and to your FastAPI route": routes(folder),
        }
    publish("serving", tables, ["recipes/circle_area", "benchmarks/route.py"])
