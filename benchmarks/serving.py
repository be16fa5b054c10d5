"""MLflow's server: its workers, and beside it a route of one's own."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT, find

from benchmarks import circle_area
from benchmarks.report import Rows, compare, interleave, publish, served, spread
from docs.files import FENCE

GUIDE = ROOT / "docs/guides/serve.md"
WAYS = {
    "1 worker": {"MLFLOW_MODELS_WORKERS": "1"},
    "2 workers": {"MLFLOW_MODELS_WORKERS": "2"},
    "2 workers, without uvloop": {
        "MLFLOW_MODELS_WORKERS": "2",
        "UVICORN_LOOP": "asyncio",
    },
}


def ask(address: str, path: str, body: str, times: int) -> None:
    """Ask over one connection, with http.client: it leaves the cores to the workers."""
    with closing(HTTPConnection(address, timeout=60)) as connection:
        for _ in range(times):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise RuntimeError(text.decode())


def load(address: str, clients: int, each: int) -> None:
    """Ask with `clients` at once, each of them `each` times."""
    body = json.dumps(find("circle_area").json("request.json"))
    client = partial(ask, address, "/invocations", body)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, [each] * clients))


def rates(model: str, clients: int, each: int) -> Rows:
    """Return the requests a second of each way, with `clients` at once."""
    command = ["models", "serve", "-m", model, "--env-manager", "local"]
    with ExitStack() as servers:
        turns = {}
        for way, settings in WAYS.items():
            address = servers.enter_context(served(command, "ping", **settings))
            turns[way] = partial(load, address, clients, each)
        rates = clients * each / interleave(turns, 5)
    ratio = "rate relative to one worker"
    rows = compare(rates, "server", "requests/s", "1 worker", ratio)
    return [{"clients": clients} | row for row in rows]


@contextmanager
def own_route(model: str) -> Iterator[str]:
    """Serve the app that the guide shows, with this model; yield its host and port."""
    app = dict(FENCE.findall(GUIDE.read_text("utf-8")))["app.py"]
    folder = Path(model).parent
    (folder / "app.py").write_text(app.replace("models:/circle_area/latest", model))
    address = f"127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "uvicorn", "app:app"]
    command += ["--port", str(port), "--log-level", "error"]
    health, log = f"http://{address}/openapi.json", Path(os.devnull)
    with running_server(command, folder, health, log):
        yield address


def routes(model: str) -> Rows:
    """Return what a request costs on MLflow's server and on a route of one's own."""
    command = ["models", "serve", "-m", model, "--env-manager", "local"]
    times = 50  # requests, one after the other
    rows: Rows = []
    with served(command, "ping") as mlflows, own_route(model) as own:
        for count in (1, 1000):
            values = [1.5] * count
            table = {"columns": ["diameter"], "data": [[value] for value in values]}
            body = json.dumps({"dataframe_split": table})
            ways = {
                "theirs": partial(ask, mlflows, "/invocations", body, times),
                "ours": partial(ask, own, "/areas", json.dumps(values), times),
            }
            ms = interleave(ways, 5) * 1000 / times
            rows.append(
                {
                    "a request with": f"rows: {count}",
                    "MLflow's server, ms": ms["theirs"].median(),
                    "least to most": spread(ms["theirs"]),
                    "own route, ms": ms["ours"].median(),
                    "least to most ": spread(ms["ours"]),
                    "times faster": ms["theirs"].median() / ms["ours"].median(),
                }
            )
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        circle_area.save(model := f"{folder}/model", pip_requirements=[])
        tables = {
            "A model server on loopback": rates(model, 1, 100) + rates(model, 8, 50),
            "A request to MLflow's server and to your FastAPI route": routes(model),
        }
    publish("serving", tables, ["recipes/circle_area"])
