"""openai_batch: each fault of a service over two APIs, streams, deadlines, interrupts, the key."""

import asyncio
import os
import signal
import sys
import threading
import time
from contextvars import ContextVar
from types import SimpleNamespace

from shared import local_llm
from shared.recipes import find

import httpx2
import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from tests import fault_server
from tests import test_openai_call as lesson
from tests.test_openai_call import GOOD, KEY, point_to, running_service  # noqa: F401

RECIPE = find("openai_batch")
sys.path.insert(
    0, str(RECIPE.path)
)  # where model_code.py finds its package, as in a loaded model

import openai_batch_client as client  # noqa: E402

from recipes.openai_batch import driver, model_code  # noqa: E402

FAULTS = lesson.FAULTS | {"too long": ("Truncated", 1), "refusal": ("Refused", 1)}
STREAMED = [
    "hangs up",
    "body null",
    "body echoes the key",
    "401 for ever",
    "answer echoes the key",
]
STREAMED += ["too long", "gzip bomb"]
both_apis = pytest.mark.parametrize("api", ["chat", "responses"])


def reader(**config):
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def ask(*said, params=None, **config):
    return reader(**config).predict(
        None, pd.DataFrame({"text": said}, dtype=object), params
    )


def stream(text, params=None, **config):
    """Return the pieces, joined, and the row at the end."""
    *pieces, last = reader(**config).predict_stream(None, {"text": text}, params)
    return "".join(piece["delta"] for piece in pieces), last


@both_apis
def test_a_fault_costs_its_own_row_only(service, api):
    lesson.check_faults(
        service, lambda said: ask(*said, api=api, concurrency=40), FAULTS
    )


@pytest.mark.parametrize(
    "piece, kept", [(b" " * 400_000, 1_000_000), (b"\n" * 400_000, 1_200_000)]
)
def test_no_more_is_read_of_a_reply_than_its_bound(piece, kept):
    sent = []

    async def endless():
        while len(sent) < 100:
            sent.append(piece)
            yield piece

    async def read():
        reply = httpx2.Response(200, content=endless())
        size = sum([len(part) async for part in client._bounded(reply, KEY)])
        assert reply.is_closed
        return size

    assert asyncio.run(read()) == kept and len(sent) == 3


def test_a_short_key_is_a_placeholder_and_blots_nothing_out():
    assert client.hidden("none of it", "none") == "none of it"
    assert client.hidden(f"<{KEY}>", KEY) == "<***>"


@both_apis
@pytest.mark.parametrize("fault", ["silent", "drips"])
def test_the_deadline_ends_what_never_ends(service, api, fault):
    """A reply that drips is never silent; only the deadline, over all attempts, ends it."""
    config = {"api": api, "deadline_s": 0.5}
    assert ask(f"[{fault}] x", **config)["error"].tolist() == ["DeadlineExceeded"]
    assert stream(f"[{fault}] x", **config)[1]["error"] == "DeadlineExceeded"


def test_silence_ends_in_a_timeout_of_the_client(service):
    config = {"client": {"timeout": 0.3, "max_retries": 0}}
    assert ask("[silent] x", **config)["error"].tolist() == ["APITimeoutError"]


@both_apis
def test_requests_carry_schema_and_limit_and_ask_for_nothing_to_be_kept(
    service, api, monkeypatch
):
    chat = api == "chat"
    ask(GOOD, api=api, model="mine")
    monkeypatch.setenv("OPENAI_MODEL", "another")
    stream(GOOD, api=api, model="mine")
    for number, (path, body) in enumerate(service.requests):
        form = (
            body["response_format"]["json_schema"] if chat else body["text"]["format"]
        )
        assert path == ("/v1/chat/completions" if chat else "/v1/responses")
        assert (
            form["strict"] is True and form["schema"]["additionalProperties"] is False
        )
        assert body["store"] is False and body["temperature"] == 0
        assert body["max_completion_tokens" if chat else "max_output_tokens"] == 100
        assert (
            body["stream"] is bool(number)
            and body["model"] == ["mine", "another"][number]
        )


def test_the_fake_service_refuses_a_request_without_a_token_limit(service):
    body = {"messages": [{"role": "user", "content": GOOD}]}
    assert httpx2.post(f"{service.url}/chat/completions", json=body).status_code == 400


def test_the_api_follows_the_endpoint(monkeypatch):
    def chat(api="auto"):
        return client.Service({}, client.Config(api=api), True).chat

    point_to(monkeypatch, "http://127.0.0.1:1/v1")
    assert chat() and not chat("responses")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert not chat() and chat("chat")


@pytest.mark.parametrize(
    "name, value",
    [("deadline", 3), ("api", "soap"), ("concurrency", 0), ("deadline_s", 0)],
)
def test_junk_configuration_is_refused_when_the_model_is_loaded(name, value):
    with pytest.raises(ValidationError, match=name):
        reader(**{name: value})


@pytest.mark.parametrize("text", [None, "", " \n", 3, pd.NA, "a\ud800", "x" * 4001])
def test_what_is_no_text_costs_no_call(service, text):
    answer = ask(GOOD, text)
    assert answer["error"].tolist() == [None, "InvalidInput"]
    assert answer["detail"][1].startswith(
        "column 'text', row 1: need 1 to 4000 characters: "
    )
    assert stream(text)[1]["error"] == "InvalidInput" and service.calls.total() == 1


def test_a_dry_run_calls_nobody_and_needs_no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    dry = {"dry_run": True}
    assert ask(GOOD, "", params=dry)["error"].tolist() == ["DryRun", "InvalidInput"]
    assert stream(GOOD, params=dry)[1]["error"] == "DryRun"
    assert list(ask()) == [*driver.FIELDS, *driver.OTHERS]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        ask(GOOD)


@pytest.mark.parametrize(
    "key, url", [(f"{KEY}\n", "http://x/v1"), (KEY, "http://[::1"), (KEY, "")]
)
def test_an_unusable_endpoint_is_one_error_without_the_key(monkeypatch, key, url):
    point_to(monkeypatch, url, key)
    with pytest.raises(MlflowException) as raised:
        ask(GOOD, client={} if url else {"timeouts": 3})
    assert (
        KEY not in str(raised.value)
        and raised.value.error_code == "INVALID_PARAMETER_VALUE"
    )


def test_cost_comes_from_the_prices_given_and_from_nowhere_else(service):
    assert ask(GOOD, params={"input_price": 2.0})["cost"].tolist() == [None]
    answer = ask(GOOD, params={"input_price": 2.0, "output_price": 10})
    assert answer["cost"].tolist() == [pytest.approx((11 * 2 + 7 * 10) / 1e6)]


@pytest.mark.parametrize(
    "name, value",
    [("input_price", -1.0), ("input_price", "2"), ("dry_run", 1), ("prices", {})],
)
def test_junk_params_are_refused_before_any_call(service, name, value):
    with pytest.raises(MlflowException, match=name):
        ask(GOOD, params={name: value})
    assert service.calls.total() == 0


def test_another_table_is_refused():
    with pytest.raises(MlflowException, match="one column 'text'"):
        reader().predict(None, pd.DataFrame([[1, 2]], columns=["text", "text"]))
    assert [row["error"] for row in reader().predict_stream(None, "x")] == [
        "InvalidInput"
    ]


def test_only_what_the_text_says_is_kept():
    said = model_code.Feedback(product="road bike", price=1050, sentiment="positive")
    kept = {"product": "road bike", "price": 1050, "sentiment": "positive"}
    assert model_code.grounded(said, "The ROAD Bike for $1,050.00!") == kept
    kept |= {"product": None, "price": None}
    assert model_code.grounded(said, "it broke, 10-50 dollars wasted") == kept


@pytest.mark.parametrize("limit, rows", [(8, 24), (110, 110)])
def test_as_many_rows_at_a_time_as_asked(service, limit, rows):
    service.together = threading.Barrier(limit)  # answers none until so many wait
    answer = ask(*[GOOD, ""] * rows, concurrency=limit)
    assert answer["error"].tolist() == [None, "InvalidInput"] * rows
    assert service.calls.total() == rows and service.peak == limit


def test_inside_a_running_event_loop_in_the_caller_s_context(service, monkeypatch):
    span = ContextVar(
        "span", default="none"
    )  # as MLflow's tracing keeps the caller's span
    monkeypatch.setattr(
        client.Service, "_read", lambda *_: client.Reply(error=span.get())
    )

    async def in_a_notebook():
        span.set("the caller's")
        return ask(GOOD)

    assert asyncio.run(in_a_notebook())["error"].tolist() == ["the caller's"]


def test_ctrl_c_ends_a_batch_at_once_in_a_running_loop_too(service, monkeypatch):
    def interrupt():
        while not service.calls["silent"]:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    async def in_a_notebook():
        ask(*["[silent] x"] * 20, deadline_s=20, concurrency=1)

    ended = []
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it
    monkeypatch.setattr(client.Service, "_failed", lambda *args: ended.append(args))
    threading.Thread(target=interrupt).start()
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(in_a_notebook())
    loop.close()
    assert service.calls["silent"] == 1 and ended == [], (
        "waited for the row, or for all"
    )
    assert "run_until_complete" not in str(threading.enumerate())


@both_apis
@pytest.mark.parametrize("text", [GOOD, "[500 once] x"])
def test_a_stream_ends_in_the_row_that_predict_gives(service, api, text):
    said, last = stream(text, api=api)
    assert said == fault_server.GOOD
    assert last == ask(text, api=api).to_dict("records")[0]


@both_apis
@pytest.mark.parametrize("fault", STREAMED)
def test_a_stream_that_fails_ends_in_a_typed_error(service, api, fault):
    said, last = stream(f"[{fault}] x", api=api)
    assert last["error"] == FAULTS[fault][0] or fault == "hangs up", last
    assert KEY not in said + str(last) and len(last["detail"] or "") <= 300
    assert ("***" in said) == (fault in ("answer echoes the key", "too long"))


def test_a_stream_that_is_closed_ends_its_thread(service):
    chunks = reader().predict_stream(None, {"text": "[drips] x"})
    next(chunks)
    assert "run_until_complete" in str(threading.enumerate())
    chunks.close()
    assert "run_until_complete" not in str(threading.enumerate())


def test_a_key_that_a_stream_spells_out_is_in_no_trace(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.tracing.configure(span_processors=[driver.without_key])
    mlflow.openai.autolog()
    try:
        for api in ("chat", "responses"):
            stream("[answer echoes the key] x", api=api)
        mlflow.flush_trace_async_logging()
        traces = [trace.to_json() for trace in mlflow.search_traces(return_type="list")]
    finally:
        mlflow.openai.autolog(disable=True)
        mlflow.tracing.configure(span_processors=[])
        mlflow.set_tracking_uri(None)
    assert ["***" in trace for trace in traces] == [True, True] and KEY not in str(
        traces
    )


def test_the_local_server_keeps_to_a_schema_over_chat_only():
    """Why compatible servers are asked over chat; good news if this fails one day."""
    said = {}
    with local_llm.local_llm():
        for api in ("chat", "responses"):
            config = client.Config(api=api, client={"timeout": 600}, deadline_s=600)
            service = client.Service({"const": "xyzzy"}, config, True)
            (said[api],) = service.ask([[{"role": "user", "content": "Hello"}]])
    assert said["chat"].text == '"xyzzy"'
    assert said["responses"].error or said["responses"].text != '"xyzzy"'
