"""A canary key, with services that are honest, dead, or echo the key: 0 copies of it anywhere.

Echoes come in errors, in bodies and answers under status 200, and in a header of every reply.
"""

import json
import secrets
from pathlib import Path

import mlflow
import pytest
import requests

from tests import fault_server
from tests.conftest import make
from tests.verify.processes import free_port, running

pytestmark = pytest.mark.filterwarnings("ignore")
KEY = f"sk-{secrets.token_hex()}"
ECHOES = ["401 for ever", "body echoes the key", "answer echoes the key", "307 elsewhere"]
TEXTS = ["a fine thing", *(f"[{fault}] x" for fault in ECHOES)]


@pytest.mark.parametrize("name", ["openai_call", "openai_batch"])
def test_a_key_is_in_no_store_trace_artifact_answer_or_output(name, fresh_checkout):
    checkout = fresh_checkout(name)
    with fault_server.running() as service:
        where = {"OPENAI_BASE_URL": service.url, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "fake"}
        where |= {"OPENAI_LOG": "debug"}  # logs what is sent and what comes, headers too
        outputs = every_target(name, checkout, service, where)
    assert KEY not in outputs
    for file in filter(Path.is_file, checkout.rglob("*")):
        if ".venv" not in file.parts:
            assert KEY.encode() not in file.read_bytes(), file


def every_target(name, checkout, service, where) -> str:
    said = []

    def do(target, **more):
        done = make(checkout, target, f"RECIPE={name}", **where | more)
        said.extend([done.stdout, done.stderr])
        return done.returncode, done.stdout + done.stderr

    recipe = checkout / "recipes" / name
    request = json.loads((recipe / "request.json").read_text())
    request["dataframe_split"]["data"] = [[text] for text in TEXTS]
    (recipe / "request.json").write_text(json.dumps(request))

    code, out = do("log")
    assert code == 0 and "1 texts answered, 4 with a typed error" in out, out
    assert out.startswith("asks    fake at 127.0.0.1, the environment's endpoint\n")
    assert set(service.calls.values()) == {1}, "logging the model called the service"
    client = mlflow.MlflowClient(f"sqlite:///{checkout / '.mlflow/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string=f"name = '{name}'")
    (run,) = client.search_runs([experiment.experiment_id])
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert run.data.metrics["texts answered"] == 1 and run.data.metrics["input tokens"] == 22
    assert {metric.key for metric in model.metrics or []} == set(run.data.metrics)
    assert run.inputs and run.inputs.dataset_inputs and run.data.params
    traces = client.search_traces(locations=[experiment.experiment_id])
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces} == {model.model_id}
    # MLflow stores none for a body that is no reply of the API, where its warning is an error.
    assert len(traces) >= 4 and sum("***" in trace.to_json() for trace in traces) >= 3

    assert do("accept", YES="1")[0] == 0 and "***" in (recipe / "response.json").read_text()
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = ["make", "-o", ".venv/.recipes", "serve", f"RECIPE={name}", f"PORT={port}"]
    with running(command, checkout, f"{address}/ping", checkout / "serve.log", **where):
        answer = requests.post(f"{address}/invocations", json=request, timeout=60)
    assert answer.status_code == 200 and "***" in answer.text
    code, out = do("log", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert code == 2 and "no text was answered: APIConnectionError: Connection error." in out
    return "".join([*said, answer.text])
