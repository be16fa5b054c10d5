"""reference_qa: the chain, failing services, the evaluation, the sources, the page."""

import json
import re
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

from shared import agent_server
from shared.recipes import ROOT, find

import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from mlflow.genai.agent_server import server as mlflow_server
from mlflow.models import Model

from tests.conftest import KEY, refusal, siblings

HERE = ROOT / "recipes/reference_qa"
PAGE = (HERE / "README.md").read_text()
evaluation, library, corpus, sources, driver, model_code = siblings(
    "reference_qa",
    "evaluation",
    "library",
    "passages",
    "sources",
    "driver",
    "model_code",
)

NAME = "Is there something that tells me how often each word occurs in a list?"
ENTRIES = pd.read_parquet(corpus.FILE)
EVENTS = ["created", "output_item.added", "content_part.added", "output_text.delta"]
EVENTS += ["output_text.annotation.added", "output_text.done", "content_part.done"]
EVENTS += ["output_item.done", "completed"]

pytestmark = pytest.mark.usefixtures("own_store")


def ask(text, **more):
    return {"input": [{"role": "user", "content": text}], **more}


def make_agent(**config):
    agent = model_code.ReferenceAgent()
    place = {"entries": str(corpus.FILE)}
    agent.load_context(SimpleNamespace(artifacts=place, model_config=config))
    return agent


def content(response):
    (message,) = response.model_dump()["output"]
    return message["content"][0]


def newest(count):
    mlflow.flush_trace_async_logging()
    return mlflow.search_traces(locations=["0"], return_type="list", max_results=count)


@pytest.fixture(name="fake")
def fake_services(service):
    """Both services; the vector of any question is that of an entry."""
    vector = np.frombuffer(ENTRIES["vector"][0], np.int8).tolist()
    usage = {"prompt_tokens": 7, "total_tokens": 7}

    def answer(handler, body):
        if handler.path.endswith("/embeddings"):
            return handler.send_json({"data": [{"embedding": vector}], "usage": usage})
        handler.answer(body)

    service.always = answer
    return service


def fail(fake, status):
    """Let the service fail, and quote the key with half of a surrogate."""

    def answer(handler, _):
        error = {"message": f"Bearer {handler.key}\ud800"}
        handler.send_json({"error": error}, status)

    fake.always = answer


# The chain.


def test_answers_with_the_entry_cites_it_and_refuses(local_services):
    agent = make_agent()
    answer = content(agent.predict(ask(NAME)))
    (note,) = answer["annotations"]
    assert note["title"] == "collections.Counter"
    assert note["url"].endswith("/library/collections.html#collections.Counter")
    first, others = answer["text"].split("\n")
    sentence = ENTRIES["text"][ENTRIES["name"] == note["title"]].iloc[0]
    assert first == f"collections.Counter: {sentence}"
    assert others.startswith("See also: list.count, ")
    for question in ("Good evening!", "How do I merge two pandas DataFrames?"):
        refused = content(agent.predict(ask(question)))
        assert (refused["text"], refused["annotations"]) == (model_code.REFUSAL, [])
    later = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    again = agent.predict({"input": [*later, ask(NAME)["input"][0]]})
    assert content(again)["text"] == answer["text"]
    parts = [
        {"type": "input_text", "text": NAME},
        {"type": "input_image", "image_url": "x"},
    ]
    assert content(agent.predict(ask(parts)))["text"] == answer["text"]
    assert content(agent.predict(ask("half of a pair: \ud800")))["text"]


def test_the_first_words_come_before_the_last_are_written(fake):
    go = threading.Event()

    def write(handler, body):
        if handler.path.endswith("/embeddings"):
            return embed(handler, body)
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        for word in ("One ", "two"):
            event = {"choices": [{"index": 0, "delta": {"content": word}}]}
            handler.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            if not go.wait(5):
                return

    embed, fake.always = fake.always, write
    events = make_agent(answer="generate", least_score=-2).predict_stream(ask("x"))
    assert next(events).delta == "One "
    go.set()
    assert next(events).delta == "two"
    *_, done = events
    assert done.item["content"][0]["text"] == "One two"


def test_an_entry_is_retrieved_once_by_the_text_that_fits_best():
    agent = make_agent(entries=3)
    rows = agent.entries["name"] == "collections.Counter"
    assert rows.sum() > 2
    vector = agent.vectors[rows].mean(axis=0)  # close to all its texts
    scores = agent.vectors @ vector + agent.entries["prior"]
    best, *others = agent.retrieve(vector)
    assert best.id == "collections.Counter"
    assert best.metadata["score"] == round(scores[rows].max(), 3)
    assert len({best.id, *[entry.id for entry in others]}) == 3


def test_a_question_that_names_another_library_is_refused():
    agent = make_agent(least_score=-2)
    best = agent.retrieve(agent.vectors[0])[0]
    assert agent.can_answer("Trust a certificate", best)
    for question in ("Read a file in Rust.", "How do I sort a vector in C++?"):
        assert not agent.can_answer(question, best)


BAD = [
    ([], "must end in a message"),
    ([{"role": "user", "content": " "}], "send 1 to 1000"),
    ([{"role": "user", "content": "x" * 100_000}], "blank or too long .100000"),
    ([{"type": "function_call_output", "call_id": "1", "output": "x"}], "must end in"),
]


@pytest.mark.parametrize(("messages", "reason"), BAD)
def test_bad_input_is_refused_without_a_call(fake, messages, reason):
    with refusal(reason):
        make_agent().predict({"input": messages})
    assert fake.keys == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([{"embedding": [1.0] * 3}], "a vector of 3 numbers; the entries' have 384"),
        ([{"embedding": [0.0] * 384}], "zero, or not finite"),
        ([{"embedding": [float("nan")] * 384}], "zero, or not finite"),
        ([None], "OPENAI_EMBEDDING_BASE_URL failed"),
        ("html", "OPENAI_EMBEDDING_BASE_URL failed"),
    ],
)
def test_a_vector_is_checked_before_it_is_used(fake, data, reason):
    fake.always = lambda handler, _: handler.send_json({"data": data})
    with pytest.raises(mlflow.MlflowException, match=reason) as failed:
        make_agent().predict(ask("x"))
    assert failed.value.get_http_status_code() == 503


def test_a_failed_service_is_an_error_without_the_key(fake, traced):
    fail(fake, 401)
    agent = make_agent()
    for call in (agent.predict, lambda body: list(agent.predict_stream(body))):
        with pytest.raises(mlflow.MlflowException, match="Authentic") as failed:
            call(ask("x"))
        assert "Bearer ***?" in str(failed.value) and KEY not in str(failed.value)
    traces = newest(2)
    assert [trace.info.state.value for trace in traces] == ["ERROR", "ERROR"]
    assert KEY not in "".join(trace.to_json() for trace in traces)


def test_a_changed_key_or_address_counts_at_once(fake, monkeypatch):
    agent = make_agent()
    agent.predict(ask("x"))
    monkeypatch.setenv("OPENAI_API_KEY", "another key")
    agent.predict(ask("x"))
    assert fake.keys == [KEY, "another key"]
    monkeypatch.setenv("OPENAI_EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(mlflow.MlflowException, match="Connection error"):
        agent.predict(ask("x"))


def test_vectors_of_another_model_are_never_compared(fake, monkeypatch):
    monkeypatch.setenv("OPENAI_EMBEDDING_MODEL", "another")
    with pytest.raises(mlflow.MlflowException, match="MiniLM-L6-v2, not another"):
        make_agent().predict(ask("x"))
    assert fake.keys == []


def test_a_trace_has_its_session_and_tokens(fake, traced):
    agent = make_agent(answer="generate", least_score=-2)
    agent.predict(ask("x", context={"conversation_id": "c7", "user_id": "u"}))
    (trace,) = newest(1)
    assert trace.info.trace_metadata["mlflow.trace.session"] == "c7"
    tokens = {"input_tokens": 18, "output_tokens": 7, "total_tokens": 25}
    assert trace.info.token_usage == tokens
    kinds = {span.span_type for span in trace.data.spans}
    assert kinds == {"AGENT", "EMBEDDING", "RETRIEVER", "LLM"}


# The evaluation.


def test_a_failed_service_is_no_refusal(fake):
    fail(fake, 500)
    questions = pd.DataFrame({"kind": ["in scope", "near"], "question": ["x", "y"]})
    rows = evaluation.ask(make_agent(), questions.assign(answer=["len", ""]))
    assert rows["error"].str.contains("InternalServerError").all()
    assert rows["answered"].isna().all()
    rows.loc[1, ["error", "answered", "rank"]] = [None, False, 0]
    assert evaluation.figures(rows)["refused near"] == 1


def test_the_driver_registers_nothing_when_answers_failed(
    local_services, traced, monkeypatch
):
    """The service answers while the model is logged, and then no more."""

    def ask_two(model, questions):
        monkeypatch.setenv("OPENAI_EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1")
        return evaluation.ask(model, questions.head(2))

    monkeypatch.setattr(driver, "ask", ask_two)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    with pytest.raises(SystemExit, match="2 answers failed, nothing registered"):
        driver.main()
    mlflow.set_experiment("Default")
    assert mlflow.MlflowClient().search_registered_models() == []


# The sources; `make verify` reads them anew and compares.


def test_the_page_counts_the_recorded_entries():
    entries = ENTRIES[ENTRIES["in_scope"]].drop_duplicates("name")
    assert f"{len(entries):,} functions" in PAGE
    assert f"{corpus.FILE.stat().st_size / 1e6:.1f} MB" in PAGE
    phrases = pd.read_csv(HERE / "phrases.csv", keep_default_na=False)
    assert set(phrases["name"]) <= set(entries["name"])
    assert f"{len(phrases):,} phrases" in PAGE


GUIDE = """---
title: not an entry
---
Before the first heading.

# Tea

## Green
Steep it at 80 degrees. {more}

- two minutes

- no milk

```python
# not a heading

pour()
```
"""


def test_markdown_is_cut_neither_in_a_list_nor_in_code(tmp_path):
    (tmp_path / "deep").mkdir()
    text = GUIDE.format(more="It is long. " * 80)
    (tmp_path / "deep/tea.md").write_text(text)
    entries = {entry.name: entry.text for entry in sources.markdown(tmp_path)}
    names = ["deep/tea.md", "deep/tea.md: Green", "deep/tea.md: Green (2)"]
    assert list(entries) == names
    assert entries["deep/tea.md"] == "Before the first heading."
    assert entries["deep/tea.md: Green"].endswith("\n\n- two minutes\n\n- no milk")
    code = "```python\n# not a heading\n\npour()\n```"
    assert entries["deep/tea.md: Green (2)"] == code


def test_an_answer_has_all_events_of_the_responses_api(local_services):
    """The tests of graph_agent ask a server; here a source is cited too."""
    events = (event.model_dump() for event in make_agent().predict_stream(ask(NAME)))
    whole = list(agent_server.whole_protocol(events, agent_server.new_response()))
    assert [event["type"] for event in whole] == [f"response.{kind}" for kind in EVENTS]


FAILED = {"status": "failed", "error": {"message": "down"}}
DELTA = {"type": "response.output_text.delta", "delta": "So "}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": FAILED},
        {"type": "response.completed", "response": {"status": "completed"}},
        {"type": "error", "message": "down"},
    ],
)
def test_an_agents_own_end_of_the_stream_is_the_end(event):
    response = agent_server.new_response()
    *_, last = agent_server.whole_protocol(iter([DELTA, event]), response)
    own = event.get("response", {})
    assert (
        last["type"] == event["type"]
        and last.get("response", {}).items() >= own.items()
    )
    assert last.get("response", response)["id"] == response["id"]


def serve_fake(monkeypatch, task, answer=None):
    """Return the server's app in front of a stand-in for the model."""
    metadata = Model(metadata={"task": task})
    model = SimpleNamespace(metadata=metadata, predict=lambda body: answer)
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: model)
    monkeypatch.setattr(agent_server.uvicorn, "run", run := Mock())
    for name in ("_invoke_function", "_stream_function"):
        monkeypatch.setattr(mlflow_server, name, None)
    agent_server.serve("m", "127.0.0.1", 1)
    return run.call_args.args[0]


@pytest.mark.filterwarnings("ignore")
def test_a_failed_answer_stays_failed(monkeypatch):
    app = serve_fake(monkeypatch, "agent/v1/responses", {"output": [], **FAILED})
    reply = TestClient(app).post("/v1/responses", json={"input": "Hello"}).json()
    assert {name: reply[name] for name in FAILED} == FAILED


def test_a_chat_agent_is_not_served(monkeypatch):
    with pytest.raises(SystemExit, match="no ResponsesAgent"):
        serve_fake(monkeypatch, "agent/v2/chat")


@pytest.mark.filterwarnings("ignore")
def test_the_page_s_test_of_its_answers_passes(folder, local_services, traced):
    """What the test does; MLflow's plugin keeps it as a run."""
    (code,) = re.findall(r"```python\n([^`]*@mlflow\.test[^`]*)```", PAGE)
    model = str(folder(find("reference_qa")))
    page = {}
    exec(code.replace("models:/reference_qa/latest", model), page)
    page["test_the_answer_names_the_entry"].__wrapped__()
