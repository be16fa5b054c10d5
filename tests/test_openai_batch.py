"""openai_batch: odd replies over two APIs, streams, limits, interrupts, and the key."""

import asyncio
import gzip
import inspect
import json
import logging
import os
import signal
import sys
import threading
import time
import zlib
from base64 import b64encode
from contextvars import ContextVar
from email.utils import formatdate
from types import SimpleNamespace

from shared import local_llm
from shared.recipes import find

import httpx2
import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from benchmarks import fake_service
from tests.conftest import KEY

RECIPE = find("openai_batch")
# Where model_code.py finds its package, as in a loaded model.
sys.path.insert(0, str(RECIPE.path))

import openai_batch_client as client  # noqa: E402
from openai_batch_client import masking, pace, transport  # noqa: E402
from openai_batch_client import service as calling  # noqa: E402

from recipes.openai_batch import model_code  # noqa: E402

GOOD = "a fine thing"
both_apis = pytest.mark.parametrize("api", ["chat", "responses"])


def reader(**config):
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def ask(*texts, params=None, model=None, **config):
    table = pd.DataFrame({"text": texts}, dtype=object)
    return (model or reader(**config)).predict(None, table, params)


def stream(text, params=None, model=None, **config):
    """Return the pieces, joined, and the row at the end."""
    model = model or reader(**config)
    *pieces, row = model.predict_stream(None, {"text": text}, params)
    return "".join(piece["delta"] for piece in pieces), row


# What a service says in place of an answer.


@both_apis
@pytest.mark.parametrize("text", [GOOD, "[500 once] x"])
def test_a_stream_ends_in_the_row_that_predict_gives(service, api, text):
    pieces, row = stream(text, api=api)
    assert pieces == fake_service.GOOD
    assert row == ask(text, api=api).to_dict("records")[0]


def ended(finish_reason, **message):
    return {"choices": [{"finish_reason": finish_reason, "message": message}]}


SAID = [  # what a service says under status 200, and the row
    ({"error": {"message": "no capacity"}}, "InternalServerError", "no capacity"),
    (ended("content_filter"), "Refused", "no text in the answer: content_filter"),
    (ended("tool_calls", content=None), "Refused", "no text in the answer: tool_calls"),
    (ended("stop", refusal="I won't."), "Refused", "I won't."),
]


@pytest.mark.parametrize("body, error, detail", SAID)
def test_what_a_service_says_in_place_of_an_answer_is_told(
    service, body, error, detail
):
    data = json.dumps({"object": "chat.completion"} | body).encode()
    service.more["says"] = lambda handler, _: handler.send(data, {})
    row = ask("[says] x").iloc[0]
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
    "JSON in JSON": escaped("\\\\u{:04X}"),
    "some of it in JSON": "\\u0073" + KEY[1:],
    "percent": escaped("%{:02X}"),
    "percent twice": escaped("%25{:02x}"),
    "HTML": escaped("&#{};"),
    "HTML in hex": escaped("&#x{:x};"),
    "quoted-printable": escaped("={:02X}"),
    "hex": KEY.encode().hex(),
    "Python": escaped("\\\\x{:02x}"),
    "Base64": base64(KEY),
    "Base64 of one before": base64(f"x{KEY}"),
    "Base64 of Basic": base64(f"ab{KEY}:more"),
    "Base64 of UTF-16": base64(KEY, "utf-16"),
}


def send_text(status=200, spelling="plain", charset="utf-8", encoding=None):
    """Return how to answer with the key in an error or, under status 200, an answer."""

    def answer(handler, body):
        content = '{"product": "KEY", "price": "KEY"}'
        reply = fake_service.completion("", content)
        text = json.dumps({"error": {"message": "the key: KEY"}})
        if status == 200:
            text = json.dumps(reply)
        headers = {"Content-Type": f"application/json; charset={charset}"}
        if status == 200 and body["stream"]:
            content = content.replace("KEY", SPELLINGS[spelling])
            text = fake_service.stream(content, fake_service.completion("", content))
            headers = {"Content-Type": "text/event-stream"}
        data = text.replace("KEY", SPELLINGS[spelling]).encode(charset)
        if encoding == "gzip":
            data = gzip.compress(data)
        if encoding in ("deflate", "br"):  # the second is a lie
            data = zlib.compress(data)
        if encoding:
            headers["Content-Encoding"] = encoding
        handler.send(data, headers, status)

    return answer


def send_lines(*lines):
    """Return how to answer with these lines in place of HTTP's own."""

    def answer(handler, _):
        handler.wfile.write("\r\n".join(lines).encode())
        handler.close_connection = True

    return answer


PLACES = {
    "reason": send_lines(f"HTTP/1.1 401 {KEY}", "Content-Length: 0", "", ""),
    "status line": send_lines(KEY, "", ""),
    "name of a header": send_lines("HTTP/1.1 401 x", f"X-{KEY}: x", "", ""),
    "no header": send_lines("HTTP/1.1 401 x", f"X {KEY}", "", ""),
    "cookie": send_lines("HTTP/1.1 401 x", f"Set-Cookie: a={KEY}", "", ""),
    "address": send_lines("HTTP/1.1 307 x", f"Location: http://[{KEY}", "", ""),
    "chunk": send_lines("HTTP/1.1 401 x", "Transfer-Encoding: chunked", "", KEY, ""),
}
for spelling in SPELLINGS:
    for status in (200, 401):
        PLACES[f"{status}, {spelling}"] = send_text(status, spelling)
for charset in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp037"):
    PLACES[charset] = send_text(401, "plain", charset)
    PLACES[f"{charset}, JSON"] = send_text(401, "JSON", charset)
for encoding in ("gzip", "deflate", "br"):
    PLACES[encoding] = send_text(401, "plain", "utf-8", encoding)


@both_apis
def test_the_key_is_in_no_row_log_trace_or_store(
    service, api, tmp_path, monkeypatch, caplog, new_store
):
    """Asked with the loudest logs, also of the HTTP client, and with autolog."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    new_store(tmp_path / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.openai.autolog()
    # What a body says is read by API; the rest is the same for both.
    places = PLACES if api == "chat" else {n: PLACES[n] for n in PLACES if "200" in n}
    service.more.update(places)
    model = reader(api=api, client={"max_retries": 0}, concurrency=4)
    texts = [f"[{place}] x" for place in places]
    try:
        answer = ask(*texts, model=model)
        streamed = [stream(text, model=model) for text in texts]
        mlflow.flush_trace_async_logging()
        found = mlflow.search_traces(return_type="list", max_results=500)
        traces = [trace.to_json() for trace in found]
    finally:
        mlflow.openai.autolog(disable=True)
        mlflow.set_tracking_uri(None)
    untraced = [text for text in texts if text not in str(traces)]
    assert untraced == []
    assert answer["error"].notna().all()
    assert answer["detail"].str.contains("***", regex=False).sum() > len(texts) / 2
    logs = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "receive_response_headers" in logs
    kept = {"rows": str(answer.to_dict("records")), "streams": str(streamed)}
    kept |= {"logs": logs, "traces": str(traces)}
    for path in filter(os.path.isfile, tmp_path.rglob("*")):
        kept[path.name] = path.read_bytes().decode("latin-1")
    for place, text in kept.items():
        for zero in ("\0", "\\u0000", "\\x00"):  # between the letters of UTF-16
            text = text.replace(zero, "")
        for name, spelling in SPELLINGS.items():
            assert spelling not in text, (place, name)


EVENTS = {  # how a service may spell the key out over events, and what is passed on
    "pieces": (['{"delta": "a sk-", TYPE}', '{"delta": "01234 b", TYPE}'], "a *** b"),
    "Base64": (['{"delta": "c2st", TYPE}', '{"delta": "MDEyMzQ=", TYPE}'], "***MzQ="),
    "no key after all": (['{"delta": "sk-0", TYPE}', '{"delta": "!", TYPE}'], "sk-0!"),
    "its beginning last": (['{"delta": "sk-0", TYPE}'], "sk-0"),
    "thoughts": (['{"delta": "sk-01234", "type": "response.reasoning.delta"}'], ""),
    "refusal": (['{"choices": [{"delta": {"refusal": "sk-01234"}}]}'], ""),
    "two texts": (
        ['{"delta": "x", TYPE, "choices": [{"delta": {"content": "y"}}]}'],
        "x",
    ),
    "usage": (['{"choices": []}'], ""),
    "two choices": (
        ['{"choices": [{"delta": {"content": "x"}}, {"delta": {"content": "y"}}]}'],
        "x",
    ),
}


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize("name", EVENTS)
def test_the_key_is_masked_over_the_events_of_a_stream(name, end):
    events, expected = EVENTS[name]
    lines = [f"data: {event}" for event in events]
    body = end.join([*lines, "data: [DONE]", ""])
    body = body.replace("TYPE", f'"type": "{transport.ANSWER_PIECE}"')

    async def read():
        reply = httpx2.Response(200, content=body.encode())
        mask = masking.KeyMask(KEY)
        pieces = [piece async for piece in transport.clean_stream(reply, mask)]
        return b"".join(pieces).decode()

    text = asyncio.run(read())
    data = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert data.pop() == "[DONE]"
    for where in ("delta", "choices"):
        pieces = [json.loads(event).get(where, "") for event in data]
        if where == "choices":
            choices = [choice for piece in pieces for choice in piece]
            pieces = [choice["delta"]["content"] for choice in choices]
        assert "".join(pieces) in (expected, "")
    assert KEY not in text


# Others begin with what stands before the key.
BEGINS_WITH_KEY = [name for name in SPELLINGS if not name.startswith("Base64 of")]


@pytest.mark.parametrize("name", BEGINS_WITH_KEY)
def test_every_beginning_of_the_key_is_held_back(name):
    """Wherever a stream breaks the key into pieces."""
    mask = masking.KeyMask(KEY)
    text = SPELLINGS[name].replace("\\\\", "\\")
    for length in range(1, len(mask.forms[0])):
        assert mask.may_continue(f"x {text[:length]}"), text[:length]
    assert not mask.may_continue("a fine thing.")


def test_a_short_key_is_a_placeholder_and_masks_nothing():
    assert masking.KeyMask("none").mask("none of it") == "none of it"
    assert not masking.KeyMask("none").may_continue("no")


def test_a_mask_takes_no_time_out_of_proportion():
    """Work on backslashes, zero bytes and the like grows with a reply's length only."""
    mask = masking.KeyMask(KEY)
    for text in ("\\", "%25", "&#0", "\0", KEY[:-1]):
        assert mask.mask(text * 20_000) == text * 20_000


@pytest.mark.parametrize(
    "key, url",
    [
        (f"{KEY}\n", "http://x/v1"),
        (f" {KEY}", "http://x/v1"),
        (f"{KEY}é", "http://x/v1"),
        (KEY, "http://[::1"),
        (KEY, ""),
    ],
)
def test_an_unusable_endpoint_is_one_error_without_the_key(monkeypatch, key, url):
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(MlflowException) as raised:
        ask(GOOD, client={} if url else {"timeouts": 3})
    assert KEY not in str(raised.value)
    assert "OPENAI_API_KEY" in str(raised.value)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_proxy_that_needs_a_package_is_one_sentence(service, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(MlflowException, match="a proxy variable"):
        ask(GOOD)


# Bounds of size and time.


@pytest.mark.parametrize("piece", [b" " * 400_000, b"\n" * 400_000])
def test_no_more_is_read_of_a_reply_than_its_bound(piece):
    sent = []

    async def endless():
        while len(sent) < 100:
            sent.append(piece)
            yield piece

    async def read():
        reply = httpx2.Response(200, content=endless())
        mask = masking.KeyMask(KEY)
        size = sum([len(part) async for part in transport.read_bounded(reply, mask)])
        assert reply.is_closed
        return size

    assert asyncio.run(read()) == transport.MAX_BYTES
    assert len(sent) == 3


@both_apis
@pytest.mark.parametrize("fault", ["silent", "drips"])
def test_the_deadline_ends_what_never_ends(service, api, fault):
    """A reply that trickles in is never silent; only the deadline ends it."""
    config = {"api": api, "deadline_s": 0.5}
    assert ask(f"[{fault}] x", **config)["error"].tolist() == ["DeadlineExceeded"]
    assert stream(f"[{fault}] x", **config)[1]["error"] == "DeadlineExceeded"


def test_silence_ends_in_a_timeout_of_the_client(service):
    config = {"client": {"timeout": 0.3, "max_retries": 0}}
    assert ask("[silent] x", **config)["error"].tolist() == ["APITimeoutError"]


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


def test_no_minute_holds_more_than_the_limit():
    limits = pace.Pace(requests_per_minute=600, tokens_per_minute=None)
    now = 1000.0
    sent = []
    while now < 1120:
        now += limits.take(1, now) + 0.003  # a late wake-up
        if limits.take(1, now) == 0:
            sent.append(now)
    busiest = max(sum(at <= other < at + 60 for other in sent) for at in sent)
    assert 590 <= busiest <= 601


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


@pytest.mark.parametrize(
    "value, waits_for_it",
    [("7", True), (formatdate(time.time() + 3600, usegmt=True), False)],
    ids=["seconds", "date"],
)
def test_all_rows_wait_as_long_as_the_service_says(
    service, monkeypatch, value, waits_for_it
):
    """A wait beyond the deadline ends the row that it was said to, and no other."""
    wait = {"Retry-After": value}
    service.more["busy"] = lambda handler, _: handler.send_json({}, 429, wait)
    model = reader(deadline_s=20, client={"max_retries": 0})
    waits = recorded_waits(model, monkeypatch)
    assert ask("[busy] x", model=model)["error"].tolist() == ["RateLimitError"]
    assert ask(GOOD, model=model)["error"].tolist() == [None]
    assert bool(waits) == waits_for_it


def test_a_wait_beyond_the_deadline_ends_the_row_at_once(service):
    wait = {"Retry-After": "90"}
    service.more["busy"] = lambda handler, _: handler.send_json({}, 503, wait)
    assert ask("[busy] x")["error"].tolist() == ["InternalServerError"]
    assert service.calls["busy"] == 1


@pytest.mark.parametrize(
    "value, seconds",
    [("7", 7), ("-1", 0), ("", 0), ("soon", 0), ("1e400", float("inf"))],
)
def test_any_retry_after_is_a_number_of_seconds(value, seconds):
    assert transport.seconds_to_wait(value) == seconds
    assert transport.seconds_to_wait("Fri, 31 Dec 9999 23:59:59 GMT") > 1e9


# Fields that a service does not know.


UNSUPPORTED = "Unsupported parameter: 'NAME' is not supported with this model."
ONLY_ONE = "Unsupported value: 'NAME' does not support 0 with this model. Only the "
ONLY_ONE += "default (1) value is supported."
UNKNOWN = 'Invalid JSON payload received. Unknown name "NAME": Cannot find field.'
ONE_OF = "unknown field `NAME`, expected one of `model`, `temperature`"
EXTRA = {"type": "extra_forbidden", "loc": ["body", "NAME"], "msg": "Extra inputs"}
KINDS = {  # how services refuse a field by name
    "the vendor": (400, {"error": {"message": UNSUPPORTED, "param": "NAME"}}),
    "a value": (400, {"error": {"message": ONLY_ONE}}),
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
def test_a_field_that_a_service_refuses_is_left_out_and_told(service, kind):
    service.more["picky"] = refuse_fields(kind, REFUSED)
    model = reader(concurrency=1)
    answer = ask("[picky] x", "[picky] y", "[picky] z", model=model)
    assert answer["error"].tolist() == [None] * 3
    assert answer["unsupported"].tolist() == [", ".join(REFUSED)] * 3
    assert service.calls["picky"] == len(REFUSED) + 3, "each is refused once"
    ask("[picky] x", model=model)
    assert service.calls["picky"] == len(REFUSED) + 4, "remembered by the model"
    last = service.requests[-1][1]
    assert last["max_tokens"] == 100 and not {*REFUSED} & {*last}


def test_a_stream_leaves_out_a_refused_field_too(service):
    service.more["picky"] = refuse_fields("Google's", ["stream_options", "store"])
    pieces, row = stream("[picky] x")
    assert pieces == fake_service.GOOD and row["error"] is None
    assert row["unsupported"] == "stream_options, store"


@pytest.mark.parametrize("status", [400, 404, 429])
def test_a_text_that_a_service_quotes_switches_no_field_off(service, status):
    """Nor does an error of another kind."""
    error = {"error": {"message": "unsupported text: 'store', 'temperature'"}}
    service.more["quotes"] = lambda handler, _: handler.send_json(error, status)
    model = reader(client={"max_retries": 0})
    assert ask("[quotes] x", model=model)["error"].notna().all()
    assert ask(GOOD, model=model)["unsupported"].tolist() == [None]
    assert service.requests[-1][1]["store"] is False


def test_a_field_is_left_out_where_it_was_refused(service, monkeypatch):
    service.more["picky"] = refuse_fields("vLLM's", ["temperature"])
    model = reader()
    ask("[picky] x", model=model)
    monkeypatch.setenv("OPENAI_MODEL", "another")
    assert ask(GOOD, model=model)["unsupported"].tolist() == [None]
    assert service.requests[-1][1]["temperature"] == 0


@both_apis
def test_requests_carry_schema_and_limit_and_ask_for_nothing_to_be_kept(
    service, api, monkeypatch
):
    chat = api == "chat"
    monkeypatch.delenv("OPENAI_MODEL")
    ask(GOOD, api=api)
    monkeypatch.setenv("OPENAI_MODEL", "another")
    stream(GOOD, api=api, request={"top_p": 1, "temperature": None})
    models = [client.Config().model, "another"]
    for number, (path, body) in enumerate(service.requests):
        form = body["text"]["format"] if not chat else None
        form = form or body["response_format"]["json_schema"]
        assert path == ("/v1/chat/completions" if chat else "/v1/responses")
        assert form["strict"] is True
        assert form["schema"]["additionalProperties"] is False
        assert body["store"] is False
        assert body["max_completion_tokens" if chat else "max_output_tokens"] == 100
        assert body["stream"] is bool(number)
        assert body["model"] == models[number]
        messages = body["messages"] if chat else body["input"]
        assert len(messages) == 2 + 2 * len(model_code.EXAMPLES)
    first, second = (body for _, body in service.requests)
    assert first["temperature"] == 0 and "temperature" not in second
    assert second["top_p"] == 1


def test_the_fake_service_refuses_a_request_without_a_token_limit(service):
    body = {"messages": [{"role": "user", "content": GOOD}]}
    assert httpx2.post(f"{service.url}/chat/completions", json=body).status_code == 400


def test_the_api_follows_the_endpoint(monkeypatch):
    def chat(api="auto"):
        return client.Service({}, client.Config(api=api)).connect().chat

    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert chat() and not chat("responses")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert not chat() and chat("chat")


@pytest.mark.parametrize(
    "name, value",
    [
        ("deadline", 3),
        ("api", "soap"),
        ("concurrency", 0),
        ("deadline_s", 0),
        ("requests_per_minute", 0),
        ("tokens_per_minute", -1),
    ],
)
def test_junk_configuration_is_refused_when_the_model_is_loaded(name, value):
    with pytest.raises(ValidationError, match=name):
        reader(**{name: value})


# Texts, params and what nobody is asked about.


def test_the_prompt_s_examples_are_answered_without_a_call_or_a_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    answer = ask(*model_code.EXAMPLES)
    fields = [*model_code.Feedback.model_fields]
    assert answer[fields].to_dict("records") == [*model_code.EXAMPLES.values()]
    assert answer["error"].isna().all() and answer["input_tokens"].tolist() == [0, 0]
    assert stream(next(iter(model_code.EXAMPLES)))[1] == answer.to_dict("records")[0]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        ask(GOOD)


def test_cost_comes_from_the_prices_given_and_from_nowhere_else(service):
    assert ask(GOOD, params={"input_price": 2.0})["cost"].tolist() == [None]
    answer = ask(GOOD, params={"input_price": 2.0, "output_price": 10})
    assert answer["cost"].tolist() == [pytest.approx((11 * 2 + 7 * 10) / 1e6)]


@pytest.mark.parametrize(
    "name, value",
    [("input_price", -1.0), ("input_price", "2"), ("prices", {})],
)
def test_junk_params_are_refused_before_any_call(service, name, value):
    with pytest.raises(MlflowException, match=f"params {name}="):
        ask(GOOD, params={name: value})
    assert service.calls.total() == 0


def test_a_stream_of_no_row_is_an_error():
    rows = list(reader().predict_stream(None, "x"))
    assert [row["error"] for row in rows] == ["InvalidInput"]


@pytest.mark.parametrize(
    "text, product, price, made_up",
    [
        ("The ROAD Bike for $1,050.00!", "road bike", 1050, None),
        ("it broke, 12 dollars wasted", None, None, "product, price"),
        ("a road bike", "road bike", None, "price"),
    ],
)
def test_what_does_not_stand_in_the_text_was_made_up(text, product, price, made_up):
    answer = {"product": "road bike", "price": 1050, "sentiment": "positive"}
    reply = client.Reply(text=json.dumps(answer))
    assert model_code.read_answer(reply, text) == {
        "product": product,
        "price": price,
        "sentiment": "positive",
        "made_up": made_up,
    }


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

    ended = []
    # A shell's background job ignores the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(calling, "failed", lambda *args: ended.append(args))
    threading.Thread(target=interrupt).start()
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(in_a_notebook())
    loop.close()
    assert service.calls["silent"] == 1 and ended == [], (
        "waited for the row, or for all"
    )
    assert "run_until_complete" not in str(threading.enumerate())


def test_a_stream_that_is_closed_ends_its_thread(service):
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "a piece"}}]}\n\n'

    def stall(handler, _):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(event)
        service.closing.wait(60)

    service.more["stalls"] = stall
    chunks = reader().predict_stream(None, {"text": "[stalls] x"})
    assert inspect.isgenerator(chunks)
    assert next(chunks) == {"delta": "a piece"}
    assert "run_until_complete" in str(threading.enumerate())
    chunks.close()
    assert "run_until_complete" not in str(threading.enumerate())


def test_the_local_server_keeps_to_a_schema_over_chat_only():
    """Why compatible servers are asked over chat; good news if this fails one day."""
    replies = {}
    with local_llm.local_llm():
        for api in ("chat", "responses"):
            config = client.Config(api=api, client={"timeout": 600}, deadline_s=600)
            asked = client.Service({"const": "xyzzy"}, config)
            (replies[api],) = asked.ask([[{"role": "user", "content": "Hello"}]])
    assert replies["chat"].text == '"xyzzy"'
    assert replies["responses"].error or replies["responses"].text != '"xyzzy"'
