"""openai_batch: odd replies over two APIs, streams, limits, interrupts, and the key."""

import asyncio
import gzip
import json
import logging
import os
import signal
import threading
import time
from base64 import b64encode
from contextvars import ContextVar
from types import SimpleNamespace

import httpx2
import mlflow
import openai_batch_client as client
import pytest
from mlflow.exceptions import MlflowException
from openai_batch_client import masking, pace, transport
from openai_batch_client import service as calling

from recipes.openai_batch import model_code
from tests import fake_service
from tests.conftest import KEY
from tests.feedback import GOOD, as_table, load, stream

both_apis = pytest.mark.parametrize("api", ["chat", "responses"])


def reader(**config):
    return load(model_code, config)


def ask(*texts, params=None, model=None, **config):
    model = model or reader(**config)
    return model.predict(None, as_table(*texts), params)


# What a service says in place of an answer.


@both_apis
def test_a_stream_ends_in_the_row_that_predict_gives(service, api):
    pieces, row = stream(reader(api=api), GOOD)
    assert pieces == fake_service.GOOD
    assert row == ask(GOOD, api=api).to_dict("records")[0]


def choice(finish_reason):
    return {"choices": [{"finish_reason": finish_reason, "message": {"content": "x"}}]}


@pytest.mark.parametrize(
    "body, error, detail",
    [
        ({"error": {"message": "no capacity"}}, "InternalServerError", "no capacity"),
        (choice("content_filter"), "Refused", "content_filter"),
    ],
)
def test_what_a_service_says_under_status_200_is_told(service, body, error, detail):
    reply = {"object": "chat.completion"} | body
    service.more["odd"] = lambda handler, _: handler.send_json(reply)
    row = ask("[odd] x").iloc[0]
    assert row["error"] == error and detail in row["detail"]


# The key is masked, however it is written and wherever it stands.


def escaped(form):
    return "".join(form.format(ord(character)) for character in KEY)


def base64(text, charset="utf-8"):
    return b64encode(text.encode(charset)).decode()


SPELLINGS = {
    "plain": KEY,
    "capital letters": KEY.upper(),
    "JSON": escaped("\\u{:04x}"),
    "percent twice": escaped("%25{:02x}"),
    "HTML": escaped("&#{};"),
    "quoted-printable": escaped("={:02X}"),
    "hex": KEY.encode().hex(),
    "Python": escaped("\\\\x{:02x}"),
    "Base64": base64(KEY),
    "Base64 of Basic": base64(f"ab{KEY}:more"),
    "Base64 of UTF-16": base64(KEY, "utf-16"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_key_is_masked_in_every_spelling(spelling, charset):
    masked = masking.KeyMask(KEY).mask_body(f"the key: {spelling}".encode(charset))
    assert "***" in masked and spelling not in masked


def test_a_short_key_is_a_placeholder_and_masks_nothing():
    assert masking.KeyMask("none").mask("none of it") == "none of it"
    assert not masking.KeyMask("none").may_continue("no")


def send_lines(*lines):
    """Return how to answer with these lines in place of HTTP's own."""

    def answer(handler, _):
        handler.wfile.write("\r\n".join(lines).encode())
        handler.close_connection = True

    return answer


def send_gzip(handler, _):
    error = json.dumps({"error": {"message": f"the key: {KEY}"}})
    data = gzip.compress(error.encode())
    handler.send(data, {"Content-Encoding": "gzip"}, 401)


PLACES = {
    "reason": send_lines(f"HTTP/1.1 401 {KEY}", "Content-Length: 0", "", ""),
    "status line": send_lines(KEY, "", ""),
    "name of a header": send_lines("HTTP/1.1 401 x", f"X-{KEY}: x", "", ""),
    "cookie": send_lines("HTTP/1.1 401 x", f"Set-Cookie: a={KEY}", "", ""),
    "address": send_lines("HTTP/1.1 307 x", f"Location: http://[{KEY}", "", ""),
    "compressed": send_gzip,
}
ECHOES = ["body echoes the key", "answer echoes the key", "401 for ever"]


def test_the_key_is_in_no_row_log_trace_or_store(
    service, tmp_path, monkeypatch, caplog, empty_store
):
    """Asked with the loudest logs, also of the HTTP client, and with autolog."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{empty_store}")
    mlflow.openai.autolog()
    service.more.update(PLACES)
    model = reader(client={"max_retries": 0})
    texts = [f"[{place}] x" for place in [*PLACES, *ECHOES]]
    try:
        answer = ask(*texts, model=model)
        streamed = [stream(model, text) for text in texts]
        mlflow.flush_trace_async_logging()
        found = mlflow.search_traces(return_type="list", max_results=500)
        traces = str([trace.to_json() for trace in found])
    finally:
        mlflow.openai.autolog(disable=True)
        mlflow.set_tracking_uri(None)
    assert [text for text in texts if text not in traces] == []
    assert answer["error"].notna().all()
    assert answer["detail"].str.contains("***", regex=False).sum() >= 3
    logs = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "receive_response_headers" in logs
    for kept in (str(answer.to_dict("records")), str(streamed), logs, traces):
        assert KEY not in kept
    for path in filter(os.path.isfile, tmp_path.rglob("*")):
        assert KEY.encode() not in path.read_bytes(), path.name


EVENTS = {  # how a service may spell the key out over events, and what is passed on
    "pieces": (['{"delta": "a sk-", TYPE}', '{"delta": "01234 b", TYPE}'], "a *** b"),
    "Base64": (['{"delta": "c2st", TYPE}', '{"delta": "MDEyMzQ=", TYPE}'], "***MzQ="),
    "percent": (['{"delta": "%73%6", TYPE}', '{"delta": "b-01234", TYPE}'], "***"),
    "its beginning last": (['{"delta": "sk-0", TYPE}'], "sk-0"),
    "thoughts": (['{"delta": "sk-01234", "type": "response.reasoning.delta"}'], ""),
    "refusal": (['{"choices": [{"delta": {"refusal": "sk-01234"}}]}'], ""),
}


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("events, expected", EVENTS.values(), ids=EVENTS)
def test_the_key_is_masked_over_the_events_of_a_stream(events, expected, end):
    lines = [f"data: {event}" for event in events]
    body = end.join([*lines, "data: [DONE]", ""])
    body = body.replace("TYPE", f'"type": "{transport.ANSWER_PIECE}"')

    async def read():
        reply = httpx2.Response(200, content=body.encode())
        pieces = transport.clean_stream(reply, masking.KeyMask(KEY))
        return b"".join([piece async for piece in pieces]).decode()

    text = asyncio.run(read())
    data = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert data.pop() == "[DONE]"
    pieces = [json.loads(event).get("delta", "") for event in data]
    assert "".join(pieces) == expected
    assert KEY not in text


@pytest.mark.parametrize(
    "name, value",
    [
        ("OPENAI_API_KEY", f"{KEY}\n"),
        ("OPENAI_BASE_URL", "http://[::1"),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
    ],
)
def test_an_unusable_endpoint_is_one_error_without_the_key(
    service, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    with pytest.raises(MlflowException, match="OPENAI_API_KEY") as raised:
        ask(GOOD)
    assert KEY not in str(raised.value)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


# Bounds of size and time.


def test_no_more_is_read_of_a_reply_than_its_bound():
    sent = []

    async def endless():
        while len(sent) < 100:
            sent.append(b" " * 400_000)
            yield sent[-1]

    async def read():
        reply = httpx2.Response(200, content=endless())
        pieces = transport.read_bounded(reply, masking.KeyMask(KEY))
        return sum([len(piece) async for piece in pieces])

    assert asyncio.run(read()) == transport.MAX_BYTES
    assert len(sent) == 3


def test_the_deadline_ends_what_never_ends(service):
    """A reply that trickles in is never silent; only the deadline ends it."""
    model = reader(deadline_s=0.5)
    answer = ask("[silent] x", "[drips] x", model=model)
    assert answer["error"].tolist() == ["DeadlineExceeded"] * 2
    assert stream(model, "[drips] x")[1]["error"] == "DeadlineExceeded"


# A service's limits, kept from our side.


def test_requests_and_tokens_are_spread_over_the_minute():
    limits = pace.Pace(requests_per_minute=60, tokens_per_minute=6000)
    assert limits.take(tokens=10, now=100.0) == 0
    assert limits.take(tokens=10, now=100.25) == pytest.approx(0.65)
    assert limits.take(tokens=500, now=101.0) == 0  # pays with the five seconds after
    assert limits.take(tokens=10, now=101.5) == pytest.approx(4.4)
    assert limits.take(tokens=10, now=106.0) == 0
    unlimited = pace.Pace(None, None)
    assert [unlimited.take(1e9, now=100.0) for _ in range(3)] == [0, 0, 0]


def recorded_waits(model, monkeypatch):
    """Return the list of the model's waits for its turn, which then take no time."""
    waits: list[float] = []

    async def sleep(seconds):
        waits.append(seconds)
        model.service.pace.free_at = 0  # as if the time had passed

    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=sleep))
    return waits


def test_a_limit_holds_over_calls_and_attempts(service, monkeypatch):
    """Each but the first waits its turn; a row's own time starts after its turn."""
    model = reader(requests_per_minute=1 / 60)
    waits = recorded_waits(model, monkeypatch)
    assert ask(GOOD, model=model)["error"].tolist() == [None]
    assert waits == []
    assert ask(GOOD, "[500 once] x", model=model)["error"].tolist() == [None, None]
    assert len(waits) == 3 and min(waits) > 3000


@pytest.mark.parametrize("seconds, waits", [("7", True), ("3600", False)])
def test_all_rows_wait_as_long_as_the_service_says(
    service, monkeypatch, seconds, waits
):
    """A wait beyond the deadline ends the row that it was said to, and no other."""
    wait = {"Retry-After": seconds}
    service.more["busy"] = lambda handler, _: handler.send_json({}, 429, wait)
    model = reader(deadline_s=20, client={"max_retries": 0})
    recorded = recorded_waits(model, monkeypatch)
    assert ask("[busy] x", model=model)["error"].tolist() == ["RateLimitError"]
    assert ask(GOOD, model=model)["error"].tolist() == [None]
    assert bool(recorded) == waits


# Fields that a service does not know.


UNSUPPORTED = "Unsupported parameter: 'NAME' is not supported with this model."
UNKNOWN = 'Invalid JSON payload received. Unknown name "NAME": Cannot find field.'
ONE_OF = "unknown field `NAME`, expected one of `model`, `temperature`"
EXTRA = {"type": "extra_forbidden", "loc": ["body", "NAME"], "msg": "Extra inputs"}
KINDS = {  # how services refuse a field by name
    "the vendor": (400, {"error": {"message": UNSUPPORTED, "param": "NAME"}}),
    "Google's": (400, [{"error": {"code": 400, "message": UNKNOWN}}]),
    "vLLM's": (422, {"detail": [EXTRA]}),
    "a list of those known": (422, {"error": ONE_OF}),
}
REFUSED = ["store", "temperature", "response_format", "max_completion_tokens"]


def refuse_fields(kind, names):
    status, error = KINDS[kind]

    def answer(handler, body):
        for name in names:
            if name in body:
                said = json.dumps(error).replace("NAME", name)
                return handler.send(said.encode(), {}, status)
        handler.say(fake_service.GOOD, body)

    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_a_service_refuses_is_left_out_and_told(
    service, monkeypatch, kind
):
    """Until another model is named."""
    service.more["picky"] = refuse_fields(kind, REFUSED)
    model = reader(concurrency=1)
    answer = ask("[picky] x", "[picky] y", model=model)
    assert answer["error"].tolist() == [None] * 2
    assert answer["unsupported"].tolist() == [", ".join(REFUSED)] * 2
    assert service.calls["picky"] == len(REFUSED) + 2, "each is refused once"
    last = service.requests[-1][1]
    assert last["max_tokens"] == 100 and not {*REFUSED} & {*last}
    assert stream(model, "[picky] x")[1]["error"] is None
    monkeypatch.setenv("OPENAI_MODEL", "another")
    assert ask(GOOD, model=model)["unsupported"].tolist() == [None]
    assert service.requests[-1][1]["temperature"] == 0


def test_a_text_that_a_service_quotes_switches_no_field_off(service):
    error = {"error": {"message": "unsupported text: 'store', 'temperature'"}}
    service.more["quotes"] = lambda handler, _: handler.send_json(error, 400)
    model = reader(client={"max_retries": 0})
    assert ask("[quotes] x", model=model)["error"].tolist() == ["BadRequestError"]
    assert service.calls["quotes"] > 1
    assert ask(GOOD, model=model)["unsupported"].tolist() == [None]
    assert service.requests[-1][1]["store"] is False


@both_apis
def test_requests_carry_schema_and_limit_and_ask_for_nothing_to_be_kept(service, api):
    ask(GOOD, api=api, request={"seed": 7, "temperature": None})
    ((path, body),) = service.requests
    if api == "chat":
        form = body["response_format"]["json_schema"]
        messages, limit = body["messages"], body["max_completion_tokens"]
        assert path == "/v1/chat/completions"
    else:
        form = body["text"]["format"]
        messages, limit = body["input"], body["max_output_tokens"]
        assert path == "/v1/responses"
    assert form["strict"] is True
    assert form["schema"]["additionalProperties"] is False
    assert body["store"] is False
    assert body["seed"] == 7 and "temperature" not in body
    assert limit == 100 and body["model"] == "fake"
    assert len(messages) == 2 + 2 * len(model_code.EXAMPLES)


def test_the_api_follows_the_endpoint(monkeypatch):
    def chat(api="auto"):
        return client.Service({}, client.Config(api=api)).connect().chat

    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert chat() and not chat("responses")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert not chat() and chat("chat")


# Answers and params.


def test_the_prompt_s_examples_are_answered_without_a_call_or_a_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    answer = ask(*model_code.EXAMPLES)
    fields = [*model_code.Feedback.model_fields]
    assert answer[fields].to_dict("records") == [*model_code.EXAMPLES.values()]
    assert answer["error"].isna().all() and answer["input_tokens"].tolist() == [0, 0]
    _, row = stream(reader(), next(iter(model_code.EXAMPLES)))
    assert row == answer.to_dict("records")[0]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        ask(GOOD)


def test_cost_comes_from_the_prices_given_and_from_nowhere_else(service):
    assert ask(GOOD, params={"input_price": 2.0})["cost"].tolist() == [None]
    answer = ask(GOOD, params={"input_price": 2.0, "output_price": 10})
    assert answer["cost"].tolist() == [pytest.approx((11 * 2 + 7 * 10) / 1e6)]


@pytest.mark.parametrize(
    "name, value", [("input_price", -1.0), ("input_price", "2"), ("prices", {})]
)
def test_junk_params_are_refused_before_any_call(service, name, value):
    with pytest.raises(MlflowException, match=f"params {name}="):
        ask(GOOD, params={name: value})
    assert service.calls.total() == 0


@pytest.mark.parametrize(
    "text, product, price, made_up",
    [
        ("The ROAD Bike for $1,050.00!", "road bike", 1050, None),
        ("it broke, 12 dollars wasted", None, None, "product, price"),
    ],
)
def test_what_does_not_stand_in_the_text_was_made_up(text, product, price, made_up):
    answer = {"product": "road bike", "price": 1050, "sentiment": "positive"}
    row = model_code.read_answer(client.Reply(text=json.dumps(answer)), text)
    assert row == answer | {"product": product, "price": price, "made_up": made_up}


# Event loops, contexts and interrupts.


def test_inside_a_running_event_loop_in_the_caller_s_context(service, monkeypatch):
    # MLflow's tracing keeps the caller's span in such a variable.
    span = ContextVar("span", default="none")

    def told(*_):
        return client.Reply(error=span.get())

    monkeypatch.setattr(calling, "read_response", told)

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

    # A shell's background job ignores the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(in_a_notebook())
    loop.close()
    assert service.calls["silent"] == 1, "waited for the row, or for all"
    assert "run_until_complete" not in str(threading.enumerate())
