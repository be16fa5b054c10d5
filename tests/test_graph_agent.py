"""graph_agent: the conversation, the stop, the booking, versions, servers, the page."""

import os
import re
import runpy
import shutil
import sqlite3
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

from shared.processes import free_port, running_server
from shared.recipes import ROOT

import mlflow
import openai
import pandas as pd
import pytest

from recipes.graph_agent import model_code
from tests.conftest import model_uri, refusal

HERE = ROOT / "recipes/graph_agent"
PAGE = (HERE / "README.md").read_text()
REFUND = "Refund customer 311 12.50 dollars, the disc was scratched"
STOP = "Refund $12.50 to customer 311? Answer yes or no."
BOOKED = "Refunded $12.50 to customer 311: refund number 1."
WRITE_LETTER = model_code.write_letter  # most tests have a shorter one
STAND_IN = """
import mlflow, pandas as pd
class Forecast(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        clv = {clv} * params["horizon_weeks"]
        return pd.DataFrame({{"clv": [clv], "expected_purchases": [1.5]}})
mlflow.models.set_model(Forecast())
"""


pytestmark = pytest.mark.usefixtures("own_store", "local_services")


@pytest.fixture(autouse=True)
def short_letter(monkeypatch):
    monkeypatch.setattr(model_code, "write_letter", lambda: iter(["So ", "sorry."]))


@pytest.fixture(name="file")
def conversations(tmp_path, monkeypatch):
    monkeypatch.setenv("DESK_DB", str(tmp_path / "desk.db"))
    return tmp_path / "desk.db"


def body(message, conversation="desk-1", **more):
    context = {"conversation_id": conversation}
    return {"input": [{"role": "user", "content": message}], "context": context, **more}


def make_agent(module=model_code):
    agent = module.ShopDesk()
    artifacts = {"customers": str(HERE / "customers.csv")}
    agent.load_context(SimpleNamespace(artifacts=artifacts, model_config={}))
    return agent


def text_of(response):
    return response["output"][0]["content"][0]["text"]


def say(agent, message, conversation="desk-1"):
    return text_of(agent.predict(body(message, conversation)).model_dump())


def refunds(file):
    with sqlite3.connect(file) as db:
        return db.execute("select customer, amount from refunds").fetchall()


def saved_states(file):
    with sqlite3.connect(file) as db:
        return db.execute("select count(*) from checkpoints").fetchone()[0]


def register_forecast(folder, clv):
    """Register a stand-in for the tool as its next version, the champion."""
    code = folder / f"forecast{clv}.py"
    code.write_text(STAND_IN.format(clv=clv))
    example = (pd.DataFrame({"T": [1.0]}), {"horizon_weeks": 1.0})
    mlflow.tracing.enable()  # without it log_model waits for ever
    model = mlflow.pyfunc.log_model(
        name="forecast", python_model=code, input_example=example, pip_requirements=[]
    )
    mlflow.tracing.disable()
    version = mlflow.register_model(model.model_uri, model_code.FORECAST_MODEL)
    mlflow.MlflowClient().set_registered_model_alias(
        version.name, "champion", version.version
    )


# The conversation.


def test_five_turns(own_store, file):
    """A forecast by the tool, a follow-up that keeps the weeks, a refund."""
    register_forecast(own_store, clv=2)
    agent = make_agent()
    first = say(agent, "What is customer 42 worth over 26 weeks?")
    assert "Customer 42 will spend about $52.00 in the next 26 weeks, in 1.50" in first
    register_forecast(own_store, clv=3)  # the alias moves
    second = say(agent, "And customer 311?")
    assert "Customer 311 will spend about $78.00 in the next 26 weeks" in second
    assert say(agent, "They want their money back") == "How many dollars?"
    assert say(agent, "12.50") == STOP
    answer = say(agent, "Yes!")
    assert answer == f"{BOOKED} A letter for them: So sorry."
    assert refunds(file) == [(311, 12.5)]
    assert "39 weeks" in say(agent, "What is customer 42 worth?")


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        (["refund customer 42", "20"], "Refund $20.00 to customer 42?"),
        (["refund customer 42", "1,250.5"], "Refund $1,250.50 to customer 42?"),
        (["refund 1,250.00 to customer 42"], "Refund $1,250.00 to customer 42?"),
        (["refund $20 to client 47"], "Refund $20.00 to customer 47?"),
        (["refund customer 42", "-20"], "How many dollars?"),
        (["refund customer 42", "5,00 dollars"], "How many dollars?"),
        (["refund customer 42", "customer 20"], "How many dollars?"),
        (["refund 20 dollars", "311"], "Refund $20.00 to customer 311?"),
        (["refund customer 9999 5 dollars"], "Which customer?"),
        (["refund customer 42 900000 dollars"], "How many dollars?"),
        (["refund customer 42", "dunno", "dunno"], "A number is still missing"),
        ([REFUND, "no"], "No refund was made."),
        ([REFUND, "Hello!"], f"No refund was made.\n{model_code.HELP}"),
        ([REFUND, "Refund customer 5 3 dollars"], "No refund was made.\nRefund $3.00"),
        ([REFUND, "no", "yes"], model_code.HELP),
        (["And customer 311?"], model_code.HELP),
    ],
)
def test_nothing_is_booked_without_a_yes(file, messages, last):
    agent = make_agent()
    answers = [say(agent, message) for message in messages]
    assert answers[-1].startswith(last)
    assert refunds(file) == []


def test_the_stream_holds_the_same_text(file):
    agent = make_agent()
    for message, waits in ((REFUND, True), ("yes", False)):
        *deltas, done = agent.predict_stream(body(message))
        text = "".join(event.delta for event in deltas)
        assert text == done.item["content"][0]["text"]
        assert done.custom_outputs == {"waits_for_reply": waits}
    assert [event.delta for event in deltas[1:]] == ["So ", "sorry."]


BAD = [
    ({"context": None}, 'send "context": {"conversation_id": "..."}'),
    ({"context": {"conversation_id": "a b"}}, "1 to 64 letters"),
    ({"input": []}, "must end in a message"),
    ({"input": [{"role": "user", "content": "x" * 1001}]}, "send 1 to 1000"),
    ({"input": [{"role": "assistant", "content": "yes"}]}, "with the role 'user'"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_bad_input_is_refused(change, reason):
    with refusal(re.escape(reason)):
        make_agent().predict({**body("yes"), **change})


# The booking.


def test_two_yes_at_once_book_once(file, monkeypatch):
    """LangGraph locks no conversation: both runs come to the booking."""
    agents = [make_agent(), make_agent()]
    both = threading.Barrier(2)
    keys = []

    def book_together(shop, key, *refund):
        both.wait(20)
        keys.append(key)
        return book(shop, key, *refund)

    book = model_code.Shop.book
    monkeypatch.setattr(model_code.Shop, "book", book_together)
    for agent in (agents, agents[:1] * 2):  # two workers; two threads of one
        conversation = f"desk-{len(keys)}"
        say(agent[0], REFUND, conversation)
        with ThreadPoolExecutor(2) as pool:
            replies = [pool.submit(say, each, "yes", conversation) for each in agent]
            first, second = (reply.result() for reply in replies)
        assert first == second and "Refunded $12.50 to customer 311" in first
    assert len(keys) == 4 and refunds(file) == [(311, 12.5)] * 2


def test_a_yes_holds_when_the_booking_fails(file, monkeypatch):
    """In another process too, whatever the next message says."""
    with monkeypatch.context() as patch:

        def fail(*refund):
            raise OSError("the bank is closed")

        agent = make_agent()
        say(agent, REFUND)
        patch.setattr(model_code.Shop, "book", fail)
        with pytest.raises(OSError, match="the bank"):
            say(agent, "yes")
    assert say(make_agent(), "What is customer 42 worth?").startswith(BOOKED)
    assert refunds(file) == [(311, 12.5)]
    assert say(agent, "yes") == model_code.HELP and len(refunds(file)) == 1


def test_a_yes_is_on_disk_before_its_refund_is_booked(file, monkeypatch):
    """So that a process which is killed meanwhile can't forget it."""

    def look(shop, *refund):
        seen.append(make_agent().graph.get_state(thread).next)
        return 1

    seen: list = []
    thread = {"configurable": {"thread_id": "desk-1"}}
    agent = make_agent()
    say(agent, REFUND)
    monkeypatch.setattr(model_code.Shop, "book", look)
    say(agent, "yes")
    assert seen == [("book",)]


def next_version():
    """Return the model's code with another name for one step, as a module."""
    text = (HERE / "model_code.py").read_text()
    module = ModuleType("next_version")
    exec(re.sub(r"\bapprove\b", "confirm", text), module.__dict__)
    return module


def test_a_version_with_a_renamed_step_refuses_a_waiting_conversation(file):
    before, after = make_agent(), make_agent(next_version())
    say(before, REFUND)
    with pytest.raises(mlflow.MlflowException, match="another version") as refused:
        say(after, "yes")
    assert refused.value.get_http_status_code() == 409
    say(before, "yes")
    assert refunds(file) == [(311, 12.5)]
    assert say(after, "Hello!") == model_code.HELP  # it has ended there: go on


def test_a_conversation_is_deleted_as_the_page_says(file):
    agent = make_agent()
    for message in (REFUND, "yes"):
        say(agent, message)
    assert saved_states(file) > 0
    (code,) = re.findall(r"```python\n([^`]*delete_thread[^`]*)```", PAGE)
    exec(code, {})
    assert saved_states(file) == 0 and refunds(file) == [(311, 12.5)]
    assert say(agent, "yes") == model_code.HELP
    for message in (REFUND, "yes"):  # the same words again are another refund
        say(agent, message)
    assert refunds(file) == [(311, 12.5)] * 2


# Services and traces.


def test_a_service_that_is_down_is_a_503(file, monkeypatch):
    """A tool that is down too: see the server below."""
    agent = make_agent()
    say(agent, "Hello!")
    with monkeypatch.context() as patch:
        patch.setenv("OPENAI_EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1")
        reason = "OPENAI_EMBEDDING_BASE_URL failed"
        with pytest.raises(mlflow.MlflowException, match=reason) as failed:
            say(agent, "Hello!")
        assert failed.value.get_http_status_code() == 503
    assert say(agent, "Hello!") == model_code.HELP  # the conversation goes on


def test_no_error_shows_the_key():
    key = os.environ["OPENAI_API_KEY"]
    masked = pytest.raises(mlflow.MlflowException, match=r"Bearer \*\*\*")
    with masked, model_code.failure_as_503("the service"):
        raise OSError(f"Bearer {key}")


def test_a_letter_that_fails_leaves_the_refund_booked(file, monkeypatch):
    agent = make_agent()
    say(agent, REFUND)
    monkeypatch.setattr(model_code, "write_letter", WRITE_LETTER)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    answer = say(agent, "yes")
    assert answer.startswith(f"{BOOKED} A letter for them: (none: the service of OPEN")
    assert refunds(file) == [(311, 12.5)]


def test_one_trace_has_the_session_and_the_tokens(file, traced, monkeypatch):
    monkeypatch.setattr(model_code, "write_letter", WRITE_LETTER)
    agent = make_agent()
    for message in (REFUND, "yes"):
        say(agent, message)
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(locations=["0"], return_type="list", max_results=2)
    for trace, kind in zip(traces, ("LLM", "EMBEDDING"), strict=True):
        assert trace.info.trace_metadata["mlflow.trace.session"] == "desk-1"
        assert trace.info.token_usage["total_tokens"] > 0
        assert {span.span_type for span in trace.data.spans} == {"AGENT", kind}
        assert trace.info.state.value == "OK"
        assert os.environ["OPENAI_API_KEY"] not in trace.to_json()


# The server, and what the page shows.


@pytest.fixture(name="desk", scope="module")
def agent_server(logged, local_services, tmp_path_factory):
    """The process behind make serve-agent, with a store and a file of its own."""
    place = tmp_path_factory.mktemp("server")
    shutil.copy(logged / ".mlflow/mlflow.db", place / "m.db")
    store = f"sqlite:///{place}/m.db"
    registry = mlflow.MlflowClient(store, store)
    registry.set_registered_model_alias("clv_composite", "champion", "1")
    base = f"http://127.0.0.1:{(port := free_port())}"
    uri = model_uri(logged, "graph_agent")
    command = [sys.executable, "-m", "shared.agent_server", uri]
    command += ["--host=127.0.0.1", f"--port={port}"]
    file = place / "desk.db"
    settings = {"MLFLOW_TRACKING_URI": store, "DESK_DB": str(file)}
    with running_server(command, ROOT, f"{base}/health", place / "log", **settings):
        yield SimpleNamespace(base=base, file=file, registry=registry)


def ask_server(desk, message, conversation, **more):
    """Ask with the OpenAI client."""
    client = openai.OpenAI(base_url=f"{desk.base}/v1", api_key="x", max_retries=0)
    context = {"context": {"conversation_id": conversation}}
    create = client.responses.create
    return create(model="m", input=message, extra_body=context, **more)


def test_the_openai_client_as_the_page_shows_it(desk, monkeypatch, capsys):
    """The page's conversation, with the real tool; another begins in this process."""
    code = (HERE / "client.py").read_text().replace("http://127.0.0.1:5001", desk.base)
    exec(code, {})
    assert f"```text\n{capsys.readouterr().out}```" in PAGE
    monkeypatch.setenv("DESK_DB", str(desk.file))
    say(make_agent(), REFUND)
    assert "refund number 2" in ask_server(desk, "yes", "desk-1").output_text


def test_the_protocol_of_the_responses_api(desk):
    answer = ask_server(desk, "Hello!", "desk-2")
    assert answer.id.startswith("resp_") and answer.status == "completed"
    assert answer.output_text == model_code.HELP
    stream = ask_server(desk, "Hello!", "desk-2", stream=True)
    events = [event.model_dump() for event in stream]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    items = {event["item_id"] for event in events if "item_id" in event}
    (item,) = events[-1]["response"]["output"]
    assert items == {item["id"]} and item["content"][0]["text"] == model_code.HELP


def test_errors_reach_the_openai_client_typed(desk):
    with pytest.raises(openai.BadRequestError, match="send 1 to 1000"):
        ask_server(desk, " ", "desk-3")
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        ask_server(desk, "Hello!", "desk-3", previous_response_id="resp_1")
    desk.registry.delete_registered_model_alias("clv_composite", "champion")
    try:
        with pytest.raises(openai.InternalServerError) as failed:
            ask_server(desk, "CLV of 9", "desk-3")
        with pytest.raises(openai.APIError) as streamed:
            list(ask_server(desk, "CLV of 9", "desk-3", stream=True))
    finally:
        desk.registry.set_registered_model_alias("clv_composite", "champion", "1")
    assert failed.value.status_code == 503
    assert streamed.value.code == "TEMPORARILY_UNAVAILABLE"


def test_the_pages_graph_by_its_path(traced, tmp_path, monkeypatch, capsys):
    """The section on MLflow's LangChain flavor, as the page shows it."""
    for name, code in re.findall(r'```python title="(\w+\.py)"\n(.*?)```', PAGE, re.S):
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(action="ignore"):
        runpy.run_path("log_graph.py")
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["Refund $12.50?", "approved"]
