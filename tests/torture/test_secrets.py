"""A key that is honest, dead or echoed by its service: no copy of it anywhere.

Echoes come in errors, in bodies and answers under status 200, in streams, cut between
two pieces, and in a header of every reply.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from benchmarks import fake_service
from tests.conftest import environment, make

pytestmark = pytest.mark.filterwarnings("ignore")
KEY = f"sk-{secrets.token_hex()}"
ECHOES = [
    "401 for ever",
    "body echoes the key",
    "answer echoes the key",
    "307 elsewhere",
]
TEXTS = ["a fine thing", *(f"[{fault}] x" for fault in ECHOES)]


@pytest.mark.parametrize("name", ["openai_batch"])
def test_a_key_is_in_no_store_trace_artifact_answer_or_output(name, fresh_checkout):
    checkout = fresh_checkout(name)
    with fake_service.running() as service:
        where = {
            "OPENAI_BASE_URL": service.url,
            "OPENAI_API_KEY": KEY,
            "OPENAI_MODEL": "fake",
        }
        where |= {
            "OPENAI_LOG": "debug"
        }  # logs what is sent and what comes, headers too
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
    assert (
        run.data.metrics["texts answered"] == 1
        and run.data.metrics["input tokens"] == 22
    )
    assert {metric.key for metric in model.metrics or []} == set(run.data.metrics)
    assert run.inputs and run.inputs.dataset_inputs and run.data.params
    traces = client.search_traces(locations=[experiment.experiment_id])
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces} == {
        model.model_id
    }
    # MLflow stores none for a body that is no reply of the API, where its warning is an
    # error.
    assert len(traces) >= 4 and sum("***" in trace.to_json() for trace in traces) >= 3

    assert (
        do("accept", YES="1")[0] == 0
        and "***" in (recipe / "response.json").read_text()
    )
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        "make",
        "-o",
        ".venv/.recipes",
        "serve",
        f"RECIPE={name}",
        f"PORT={port}",
    ]
    with running_server(
        command, checkout, f"{address}/ping", checkout / "serve.log", **where
    ):
        answer = requests.post(f"{address}/invocations", json=request, timeout=60)
    assert answer.status_code == 200 and "***" in answer.text
    code, out = do("log", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert (
        code == 2
        and "no text was answered: APIConnectionError: Connection error." in out
    )
    return "".join([*said, answer.text])


ECHOED = [  # by an agent's service: the fault, the key, and what the agent says of it
    ("401 for ever", KEY, "sent with Bearer ***"),
    ("event", KEY, "sent with ***"),
    ("vector", KEY, "could not convert string to float: '***'"),
    ("elsewhere", KEY, "failed"),  # the key doesn't go to another host
    ("401 for ever", "none", "sent with Bearer none"),  # a placeholder is no secret
    ("event", f"{KEY}\n", "Connection error."),  # h11's words on a line break quote it
]
ROWS = pd.read_parquet(ROOT / "recipes/reference_qa/entries.parquet")
ENTRY = np.frombuffer(ROWS["vector"][0], np.int8).tolist()  # the vector of an entry


def by_address(handler, body):
    """Answer with the fault that the address names: an agent wraps the text."""
    fault, call = handler.path.removeprefix("/v1/").replace("_", " ").split("/", 1)
    handler.fault = ""
    if call == "embeddings":
        vector = [handler.key] * 384 if fault == "vector" else ENTRY
        handler.send_json({"data": [{"embedding": vector, "index": 0}]})
    elif fault == "event":
        said = f'data: {{"error": {{"message": "sent with {handler.key}"}}}}\n\n'
        handler.send(said.encode(), {})
    elif fault == "elsewhere":
        there = f"http://localhost:{handler.server.server_port}/v1/x/y"
        handler.send(b"", {"Location": there}, 307)
    else:
        said = {"message": f"fault {fault}, sent with Bearer {handler.key}"}
        handler.send_json({"error": said}, 401)


ASK = """
import json, os, sys
from types import SimpleNamespace
import mlflow
from recipes.reference_qa import model_code
entries = os.path.join(os.path.dirname(model_code.__file__), "entries.parquet")
config = {"answer": "generate", "least_score": -2000}
agent = model_code.ReferenceAgent()
context = SimpleNamespace(artifacts={"entries": entries}, model_config=config)
agent.load_context(context)
asked = {"input": [{"role": "user", "content": "What is a list?"}]}
for address, os.environ["OPENAI_API_KEY"] in zip(sys.argv[1::2], sys.argv[2::2]):
    os.environ["OPENAI_BASE_URL"] = os.environ["OPENAI_EMBEDDING_BASE_URL"] = address
    for call in agent.predict, lambda body: list(agent.predict_stream(body)):
        try:
            print(json.dumps(str(call(asked))))
        except mlflow.MlflowException as error:
            print(json.dumps(error.message))
"""


def test_nor_in_what_an_agent_says_plain_or_streamed(tmp_path, new_store):
    new_store(tmp_path / "m.db")
    with fake_service.running() as service:
        service.always = by_address
        words = []
        for fault, key, _ in ECHOED:
            words += [f"{service.url}/{fault.replace(' ', '_')}", key]
        where = {"OPENAI_MODEL": "fake"}
        where |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db"}
        where |= {"MLFLOW_EXPERIMENT_ID": "0"}  # set_experiment leaves its own there
        done = subprocess.run(
            [sys.executable, "-c", ASK, *words],
            cwd=tmp_path,
            env=environment(ROOT, **where),
            capture_output=True,
            text=True,
        )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    triples = zip(ECHOED, answers[::2], answers[1::2], strict=True)
    for (fault, _, says), plain, streamed in triples:
        assert says in plain and says in streamed, (fault, plain, streamed)
    assert KEY not in done.stdout + done.stderr
