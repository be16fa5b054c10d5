"""reference_qa: the chain on local services, its faults, streaming, servers, MLflow's traps."""

import functools
import importlib.metadata
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

from shared.local_embeddings import EMBEDDING_MODEL, local_embeddings
from shared.local_llm import local_llm
from shared.recipes import ROOT
from shared.spark import replies

import mlflow
import numpy as np
import openai
import pandas as pd
import pytest
from tests.verify.processes import free_port, running

HERE = ROOT / "recipes/reference_qa"
sys.path.insert(0, str(HERE))
import passages as corpus  # noqa: E402

from recipes.reference_qa import model_code  # noqa: E402

KEY = "sk-secret-0123456789"
CALLABLE = "Can I call instances of my class as if they were functions?"
EVENTS = ["created", "output_item.added", "content_part.added", "output_text.delta"]
EVENTS += ["output_text.annotation.added", "output_text.done", "content_part.done"]
EVENTS += ["output_item.done", "completed"]


def ask(text, **more):
    return {"input": [{"role": "user", "content": text}], **more}


def make_agent(**config):
    agent = model_code.ReferenceAgent()
    place = {"passages": str(HERE / "passages.parquet")}
    agent.load_context(SimpleNamespace(artifacts=place, model_config=config))
    return agent


def text(response):
    (message,) = response.model_dump()["output"]
    return message["content"][0]["text"]


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory, new_store):
    """One store for all; what MLflow leaves in its working directory is there too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("agent"))
        new_store(folder / "m.db")
        mlflow.set_tracking_uri("sqlite:///m.db")
        mlflow.tracing.disable()
        yield
        mlflow.tracing.enable()


@pytest.fixture
def traced():
    mlflow.tracing.enable()
    yield
    mlflow.tracing.disable()


def newest(count):
    mlflow.flush_trace_async_logging()
    return mlflow.search_traces(locations=["0"], return_type="list", max_results=count)


def save(path, **more):
    mlflow.tracing.enable()  # or it waits for ever: see the last trap
    mlflow.pyfunc.save_model(
        path,
        python_model=HERE / "model_code.py",
        artifacts={"passages": str(HERE / "passages.parquet")},
        input_example=ask("x", custom_inputs={"dry_run": True}),
        pip_requirements=["mlflow"],
        **more,
    )
    mlflow.tracing.disable()
    return str(path)


@pytest.fixture(name="saved", scope="module")
def saved_model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("saved") / "qa", model_config=model_code.CONFIG)


@pytest.fixture(name="local", scope="module")
def local_services():
    names = {k: os.environ.pop(k) for k in [*os.environ] if k.startswith("OPENAI_")}
    with local_llm(), local_embeddings():
        model_code.connect.cache_clear()
        yield
    os.environ.update(names)


class Fake(BaseHTTPRequestHandler):
    """A stand-in for both services: a vector of the right length, and words that wait for `go`."""

    calls: list[str] = []
    status, go = 200, threading.Event()

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.calls.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.status != 200:
            said = {"message": self.headers["Authorization"] + "\ud800"}
            self.wfile.write(json.dumps({"error": said}).encode())
        elif self.path.endswith("embeddings"):
            vector = [1.0, *[0.0] * 383]
            self.wfile.write(
                json.dumps({"data": [{"embedding": vector, "index": 0}]}).encode()
            )
        for word in ("One ", "two\ud800") if self.path.endswith("completions") else ():
            delta = {"choices": [{"index": 0, "delta": {"content": word}}]}
            self.wfile.write(f"data: {json.dumps(delta)}\n\n".encode())
            self.wfile.flush()
            self.go.wait(20)


@pytest.fixture(name="fake")
def fake_services(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    for name in ("OPENAI_BASE_URL", "OPENAI_EMBEDDING_BASE_URL"):
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "a model")
    monkeypatch.delenv("OPENAI_EMBEDDING_MODEL", raising=False)
    connect = functools.partial(openai.OpenAI, timeout=20, max_retries=0)
    monkeypatch.setattr(model_code, "connect", connect)
    Fake.calls, Fake.status = [], 200
    Fake.go.clear()
    yield Fake
    server.shutdown()
    server.server_close()


def test_answers_refuses_and_cites(local):
    agent = make_agent()
    answer = agent.predict(ask(CALLABLE)).model_dump()
    (content,) = answer["output"][0]["content"]
    assert answer["status"] == "completed" and "__call__" in content["text"]
    (note,) = content["annotations"]
    passage = answer["custom_outputs"]["passages"][note["file_id"]]
    assert content["text"] in " ".join(passage["text"].split())
    refused = agent.predict(ask("How do I bake sourdough bread?")).model_dump()[
        "output"
    ][0]
    said = {"type": "output_text", "text": model_code.REFUSAL, "annotations": []}
    assert refused["content"][0] == said
    later = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    again = agent.predict({"input": [*later, ask(CALLABLE)["input"][0]]})
    assert text(again) == content["text"]


@pytest.mark.parametrize("answer", ["extract", "generate"])
def test_streams_the_events_of_the_api_and_the_same_text(local, answer):
    agent = make_agent(answer=answer)
    events = [event.model_dump() for event in agent.predict_stream(ask(CALLABLE))]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert list(dict.fromkeys(kinds)) == EVENTS and kinds[-1] == "completed"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert {
        (e["content_index"], e["output_index"]) for e in events if "item_id" in e
    } == {(0, 0)}
    assert {e.get("output_index", 0) for e in events} == {0} and events[1]["item"][
        "content"
    ] == []
    joined = "".join(event.get("delta") or "" for event in events)
    assert joined == text(agent.predict(ask(CALLABLE))) != ""
    assert answer == "extract" or kinds.count("output_text.delta") > 1


def test_the_first_words_come_before_the_last_are_written(fake):
    events = make_agent(answer="generate", least_score=-2).predict_stream(ask("x"))
    delta = next(event for event in events if event.type.endswith("delta"))
    assert delta.delta == "One " and not fake.go.is_set()
    fake.go.set()
    assert [event.delta for event in events if event.type.endswith("delta")] == ["two?"]


BAD = [
    ([], "must end in a message"),
    ([{"role": "user", "content": " "}], "need 1 to 1000"),
    ([{"role": "user", "content": "x" * 100_000}], "has 100000 characters"),
    ([{"role": "assistant", "content": "hi"}], "must end in a message"),
    ([{"type": "function_call_output", "call_id": "1", "output": "x"}], "must end in"),
]


@pytest.mark.parametrize(("asked", "why"), BAD)
def test_bad_input_is_refused_without_a_call(fake, asked, why):
    with pytest.raises(mlflow.MlflowException, match=why) as refused:
        make_agent().predict({"input": asked})
    assert refused.value.get_http_status_code() == 400 and fake.calls == []


def test_another_language_and_parts_of_text(local):
    agent = make_agent()
    chinese = agent.predict(ask("如何在列表中添加元素？" * 80)).model_dump()
    assert chinese["status"] in ("completed", "failed") and chinese["output"]
    parts = [
        {"type": "input_text", "text": CALLABLE},
        {"type": "input_image", "image_url": "x"},
    ]
    assert "__call__" in text(agent.predict(ask(parts)))


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalServerError"), (401, "Authentic")]
)
def test_a_service_that_fails_is_an_error_as_data_and_in_the_trace(
    fake, traced, status, code
):
    Fake.status = status
    answer = make_agent().predict(ask(CALLABLE)).model_dump()
    assert answer["status"] == "failed" and answer["error"]["code"].startswith(code)
    assert text(model_code.api.ResponsesAgentResponse(**answer)) == ""
    last = list(make_agent().predict_stream(ask(CALLABLE)))[-1]
    assert last.type == "response.failed"
    traces = newest(2)
    assert [str(trace.info.state.value) for trace in traces] == ["ERROR", "ERROR"]
    seen = str(answer) + "".join(trace.to_json() for trace in traces)
    assert (
        "Bearer ***?" in seen and KEY not in seen
    )  # the service quotes it, and half a surrogate


def test_vectors_of_another_model_are_never_compared(fake, monkeypatch):
    monkeypatch.setenv("OPENAI_EMBEDDING_MODEL", "another")
    answer = make_agent().predict(ask(CALLABLE)).model_dump()
    assert answer["status"] == "failed" and fake.calls == []
    assert f"embedded by {EMBEDDING_MODEL}, not another" in answer["error"]["message"]


def test_logging_asks_nobody(fake, traced):
    """MLflow runs the agent twice; without the dry run that would be two calls."""
    for dry, calls in (True, 0), (False, 2):
        fake.calls.clear()
        mlflow.pyfunc.log_model(
            name="qa",
            python_model=HERE / "model_code.py",
            artifacts={"passages": str(HERE / "passages.parquet")},
            input_example=ask("x", custom_inputs={"dry_run": dry}),
            pip_requirements=["mlflow"],
        )
        assert len(fake.calls) == calls


def test_the_passages_are_the_references_and_the_vectors_the_models(local):
    rows = pd.read_parquet(corpus.FILE)
    made = pd.DataFrame(corpus.rows())
    if rows.attrs["source"] == corpus.SOURCE:
        assert rows["text"].equals(made["text"]) and rows["sentence"].equals(
            made["sentence"]
        )
    sample = rows.sample(20, random_state=0).index
    again = corpus.embed(made["embedded"][sample].tolist()).astype(int)
    kept = [np.frombuffer(vector, np.int8) for vector in rows["vector"][sample]]
    assert np.abs(again - kept).max() <= 1 and rows.attrs["scale"] == corpus.SCALE


def test_the_openai_client_as_the_page_shows_it(local, saved, tmp_path, new_store):
    """The process behind make serve-agent, and client.py; docs/transcript.py keeps what it says."""
    base = f"http://127.0.0.1:{(port := free_port())}"
    where = f"--host=127.0.0.1 --port={port}".split()
    command = [sys.executable, "-m", "shared.agent_server", saved, *where]
    new_store(tmp_path / "m.db")  # for its traces
    place = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/m.db"}
    with running(command, ROOT, f"{base}/health", tmp_path / "log", **place):
        client = (HERE / "client.py").read_text().replace("http://127.0.0.1:5001", base)
        said = subprocess.check_output(
            [sys.executable, "-c", client], text=True
        ).splitlines()
        assert said[1:3] == ["   stands in calls#10", model_code.REFUSAL]
        assert [
            line.split()[0].removeprefix("response.") for line in said[3:]
        ] == EVENTS
        create = openai.OpenAI(base_url=base, api_key="x").responses.create
        answer = create(model="m", input=CALLABLE)
        assert answer.id.startswith("resp_") and "__call__" in answer.output_text
        for asked, why in BAD:
            with pytest.raises(openai.BadRequestError, match=why):
                create(model="m", input=asked)


# What MLflow does at the moment, and the page warns of; red when MLflow mends it.


def test_trap_agent_server_needs_httpx_but_does_not_require_it():
    needs = importlib.metadata.requires("mlflow") or []
    assert not any(need.split(";")[0].strip().startswith("httpx") for need in needs)
    code = "import sys; sys.modules['httpx'] = None; import mlflow.genai.agent_server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "httpx" in done.stderr


def test_trap_a_config_given_at_load_is_ignored_unless_one_was_logged(
    fake, saved, tmp_path
):
    for path, passages in ((save(tmp_path / "bare"), 5), (saved, 1)):
        model = mlflow.pyfunc.load_model(path, model_config={"passages": 1})
        assert len(model.predict(ask("x"))["custom_outputs"]["passages"]) == passages


def test_trap_a_table_of_questions_gets_one_answer(fake):
    from mlflow.pyfunc.loaders.responses_agent import _ResponsesAgentPyfuncWrapper

    table = pd.DataFrame({"input": [ask("x")["input"], ask("y")["input"]]})
    agent = _ResponsesAgentPyfuncWrapper(make_agent(least_score=-2), None)
    assert len(agent.predict(table)["output"]) == 1 and len(fake.calls) == 1
    alone = replies(
        agent, pd.Series(["x", " "])
    )  # so `make score-spark` asks each by itself
    assert alone["answer"][0] and "#" in alone["cited"][0][0]
    assert alone["_error"][0] is None and "need 1 to 1000" in alone["_error"][1]


def test_trap_models_serve_has_no_responses_and_does_not_stream(fake, saved):
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    with TestClient(init(mlflow.pyfunc.load_model(saved))) as served:
        assert served.post("/responses", json=ask("x")).status_code == 404
        plain = served.post("/invocations", json=ask("x", stream=True))
        assert plain.json()["object"] == "response"
        for asked, why in BAD:
            refused = served.post("/invocations", json={"input": asked})
            assert refused.status_code == 400 and re.search(why, refused.text), (
                refused.text
            )


def test_trap_an_empty_input_reaches_the_agent():
    assert (
        model_code.api.ResponsesAgentRequest(input=[]).input == []
    )  # [-1]: IndexError, a 500


def test_trap_a_caught_error_leaves_the_trace_ok(traced):
    @mlflow.trace
    def step():
        try:
            raise ValueError
        except ValueError:
            return None

    step()
    (trace,) = newest(1)
    assert trace.info.state.value == "OK"


def test_trap_log_model_hangs_where_tracing_is_disabled():
    """What it calls is marked `trace_disabled` twice over, and the inner one waits for the lock."""
    code = """import threading, mlflow, mlflow.tracing.provider as p; mlflow.tracing.disable()
inner = threading.Thread(target=p.trace_disabled(p.trace_disabled(len)), args=[""], daemon=True)
inner.start(), inner.join(3), print(inner.is_alive())"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


def test_trap_a_trace_is_lost_while_others_write_to_sqlite(traced, monkeypatch):
    from mlflow.store.db.utils import sql

    text = sql.text  # it waits 20 s for its turn; here 0.2
    monkeypatch.setattr(
        sql, "text", lambda said: text(said.replace("= 20000", "= 200"))
    )
    before = {trace.info.trace_id for trace in newest(100)}
    with closing(sqlite3.connect("m.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        mlflow.trace(len)("")
        mlflow.flush_trace_async_logging()
    assert {trace.info.trace_id for trace in newest(100)} == before
