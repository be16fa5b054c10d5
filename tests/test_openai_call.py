"""openai_call: known answers, what a service can do to a row, the checks of a start."""

import json
import os
import runpy
import sys
import time
from datetime import date
from types import SimpleNamespace
from typing import Annotated, Literal

from shared import local_llm
from shared.recipes import ROOT

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ValidationError

from benchmarks import fake_service
from recipes.openai_call import driver, model_code
from tests.conftest import KEY

GOOD = "a fine thing"


def predict(*texts, index=None, **settings):
    """Return the model's answer under the driver's settings, some of them changed."""
    model = model_code.FeedbackReader()
    config = driver.SETTINGS | settings
    model.load_context(SimpleNamespace(model_config=config))
    table = pd.DataFrame({"text": list(texts)}, index=index, dtype=object)
    return model.predict(None, table)


def test_a_service_that_is_not_there_is_named(service, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    answer = predict(GOOD, retries=0)
    assert answer["error"].tolist() == ["APIConnectionError"]
    assert "Connection refused" in answer["detail"][0]


def choice(finish_reason, content=None, **message):
    """Return how to reply under status 200 with this message."""
    message = {"role": "assistant", "content": content, **message}
    part = {"index": 0, "message": message, "finish_reason": finish_reason}
    reply = fake_service.completion("", "x") | {"choices": [part]}
    return lambda handler, _: handler.send_json(reply)


LOADING = {"error": {"message": "model is loading", "code": 503}}
CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
NO_ANSWERS = {  # the reply, the row's error, words of the service in its detail
    "error under 200": (
        lambda handler, _: handler.send_json(LOADING),
        "ServiceError",
        "model is loading",
    ),
    "refuses": (choice("stop", refusal="I can't."), "Refused", "I can't."),
    "calls a tool": (choice("tool_calls", tool_calls=CALLS), "ToolCalls", "'f'"),
    "is cut": (choice("length", '{"product": "Co'), "Truncated", '{"product": "Co'),
    "is filtered": (choice("content_filter", "No."), "ContentFilter", "No."),
    "says nothing": (choice("stop"), "InvalidResponse", "Invalid JSON"),
}


@pytest.mark.parametrize("reply, error, words", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_a_service_says_in_place_of_an_answer_is_named(
    service, reply, error, words
):
    service.more["odd"] = reply
    answer = predict("[odd] x", GOOD)
    assert answer["error"].tolist() == [error, None]
    assert words in answer["detail"][0]


def endless(head: bytes, line: bytes):
    """Return how to reply with `head`, and then with a line every 50 ms for ever."""

    def send(handler, _):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(line)

    return send


def come_later(handler, _):
    handler.send_json({}, 429, {"Retry-After": "100"})


def test_each_row_has_its_deadline_and_a_late_one_holds_nobody(service):
    """Eight rows that never end, in a pool of eight, and eight good ones."""
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    service.more["slow headers"] = endless(b"", b"X-Wait: a\r\n")
    service.more["slow body"] = endless(chunked, b"1\r\n \r\n")
    service.more["come later"] = come_later
    slow = ["[slow headers] x", "[slow body] x", "[come later] x", "[silent] x"] * 2
    answer = predict(*[text for late in slow for text in (late, GOOD)], row_seconds=3)
    assert answer["error"].tolist() == ["DeadlineExceeded", None] * 8
    assert answer["detail"][0] == "no answer within 3 seconds"


def refused(status, body, **fields):
    """Return how to refuse requests in which a field has such a value."""

    def answer(handler, request):
        for field, is_refused in fields.items():
            if field in request and is_refused(request[field]):
                return handler.send_json(body, status)
        handler.answer(request)

    return answer


def any_value(value):
    return True


LIMIT = {"max_completion_tokens": 200}
REFUSALS = {  # a kind of service, what drops the field, what its row says without that
    "reasoning model": (
        refused(
            400,
            {
                "error": {
                    "message": "Unsupported value: 'temperature' does not support 0",
                    "param": "temperature",
                    "code": "unsupported_value",
                }
            },
            temperature=lambda value: value != 1,
            max_tokens=any_value,
        ),
        {"request": LIMIT},
        "drop 'temperature' from `request`",
    ),
    "no store": (
        refused(
            400,
            [{"error": {"message": 'Unknown name "store": Cannot find field.'}}],
            store=any_value,
        ),
        {"request": LIMIT | {"temperature": 0}},
        "drop 'store' from `request`",
    ),
    "no max_completion_tokens": (
        refused(
            422,
            {"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "extra"}]},
            max_completion_tokens=any_value,
        ),
        {"request": {"temperature": 0, "max_tokens": 200}},
        "drop 'max_completion_tokens' from `request`",
    ),
    "no json_schema": (
        refused(
            400,
            {"error": {"message": "This response_format type is unavailable now"}},
            response_format=lambda value: value["type"] == "json_schema",
        ),
        {"response_format": "json_object"},
        "set `response_format` in model_config to another value",
    ),
    "no response_format": (
        refused(
            400,
            {"object": "error", "message": "unknown field: response_format"},
            response_format=any_value,
        ),
        {"response_format": None},
        "set `response_format` in model_config to another value",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refused_field_is_named_with_the_setting_that_drops_it(service, kind):
    service.always, settings, advice = REFUSALS[kind]
    everything = LIMIT | {"temperature": 0, "store": False}
    answer = predict(GOOD, GOOD, request=everything)
    assert set(answer["error"]) <= {"BadRequestError", "UnprocessableEntityError"}
    assert answer["detail"].str.startswith(advice).all(), answer["detail"][0]
    answer = predict(GOOD, GOOD, **settings)
    assert answer["error"].tolist() == [None, None], answer["detail"][0]


def test_a_request_holds_what_the_settings_say_and_no_more(service):
    predict(GOOD)
    ((path, body),) = service.requests
    assert path == "/v1/chat/completions" and body["messages"][-1]["content"] == GOOD
    assert body.keys() - {"messages"} == {"model", "response_format", *LIMIT} | {
        "temperature"
    }
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True and schema["schema"] == model_code.SCHEMA
    assert schema["schema"]["additionalProperties"] is False
    assert schema["schema"]["required"] == ["product", "price", "sentiment"]
    predict(GOOD, request={"max_tokens": 9, "top_k": 1}, response_format=None)
    _, body = service.requests[-1]
    assert body.keys() - {"messages"} == {"model", "max_tokens", "top_k"}
    assert "JSON of this schema" in body["messages"][0]["content"]


def test_whoever_loads_the_model_may_replace_single_settings(
    service, tmp_path, monkeypatch
):
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=driver.HERE / "model_code.py",
        model_config=driver.SETTINGS,
        signature=driver.SIGNATURE,
        input_example=pd.DataFrame({"text": [""]}),
        pip_requirements=[],
    )
    place, table = str(tmp_path / "model"), pd.DataFrame({"text": [GOOD]})
    settings = {"request": {"max_tokens": 9}}
    mlflow.pyfunc.load_model(place, model_config=settings).predict(table)
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", json.dumps(settings))
    mlflow.pyfunc.load_model(place).predict(table)
    for _, body in service.requests:
        assert body["max_tokens"] == 9 and "temperature" not in body
        assert body["response_format"]["type"] == "json_schema"
    assert len(service.requests) == 2


def test_a_setting_that_does_not_exist_is_refused_when_the_model_is_loaded():
    with pytest.raises(ValidationError, match="row_secs"):
        predict(GOOD, row_secs=3)


START = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_MODEL": "m"}
START |= {"OPENAI_API_KEY": KEY}
FAR = "http://there.invalid/v1"
STARTS = {  # what the environment holds, and the sentence that refuses it
    "no model": ({"OPENAI_MODEL": ""}, "OPENAI_MODEL is not set"),
    "no key": ({"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set"),
    "line break": ({"OPENAI_API_KEY": f"{KEY}\n"}, "OPENAI_API_KEY has a blank"),
    "blank": ({"OPENAI_API_KEY": f" {KEY}"}, "OPENAI_API_KEY has a blank"),
    "letter": ({"OPENAI_API_KEY": f"{KEY}\xe9"}, "OPENAI_API_KEY has a blank"),
    "placeholder": (
        {"OPENAI_BASE_URL": "", "OPENAI_API_KEY": "sk-your-key-here"},
        "OPENAI_API_KEY is a placeholder, no key of api.openai.com",
    ),
    "address": ({"OPENAI_BASE_URL": "http://[::1"}, "OPENAI_BASE_URL is no address"),
    "no scheme": (
        {"OPENAI_BASE_URL": "localhost:8000/v1"},
        "OPENAI_BASE_URL is no address",
    ),
    "SOCKS": (
        {"OPENAI_BASE_URL": FAR, "ALL_PROXY": "socks5://127.0.0.1:9"},
        "names a SOCKS proxy: install the package socksio",
    ),
}


@pytest.mark.parametrize("variables, sentence", STARTS.values(), ids=STARTS)
def test_an_environment_in_which_no_call_succeeds_is_one_sentence(
    variables, sentence, monkeypatch
):
    for name, value in (START | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MlflowException, match=sentence) as raised:
        predict(GOOD)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
    assert KEY not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://127.0.0.1:9"])
def test_a_service_on_this_machine_is_called_without_a_proxy(
    service, proxy, monkeypatch
):
    for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    assert predict(GOOD, retries=0)["error"].tolist() == [None]


QUOTES = {  # product and price as answered, the text; then what the row holds
    "both made up": (
        ("Cobalt backpack", 35.5, "it broke, 12 dollars wasted"),
        (None, None, "product, price"),
    ),
    "both there": (
        ("road bike", 1050, "The ROAD Bike for $1,050.00!"),
        ("road bike", 1050, None),
    ),
    "below zero": (("oven", -3, "the oven at -3"), ("oven", -3, None)),
    "the service said null": ((None, None, "the oven at 3"), (None, None, None)),
    "a range is no sign": ((None, -20, "10-20 dollars"), (None, None, "price")),
    "part of a name": ((None, 14, "my phone14 broke"), (None, None, "price")),
}


@pytest.mark.parametrize("said, kept", QUOTES.values(), ids=QUOTES)
def test_a_quoted_field_that_the_text_lacks_is_emptied_and_listed(said, kept):
    product, price, text = said
    answer = model_code.Feedback(product=product, price=price, sentiment="negative")
    row = model_code.without_made_up(answer, text)
    assert (row["product"], row["price"], row["made_up"]) == kept
    assert row["sentiment"] == "negative", "not quoted, so it need not be in the text"


class Review(BaseModel, extra="forbid", strict=True):
    """The kinds of fields that a copy may have."""

    city: Annotated[str | None, model_code.QUOTED]
    stars: Literal[1, 2, 3, 4, 5]
    would_return: bool
    complaints: list[str]
    arrival: date | None
    summary: str


def test_unmarked_fields_of_any_kind_come_through_as_answered(monkeypatch):
    monkeypatch.setattr(model_code, "Feedback", Review)
    fields = {
        "city": "Rome",
        "stars": 5,
        "would_return": True,
        "complaints": ["noise"],
        "arrival": "2026-05-02",
        "summary": "A paraphrase.",
    }
    answer = Review.model_validate_json(json.dumps(fields))
    row = model_code.without_made_up(answer, "Never again!")
    assert row == fields | {"city": None, "made_up": "city"}


def test_ctrl_c_starts_no_more_calls(service, monkeypatch):
    started = []

    def interrupted(call, seconds):
        started.append(call)
        time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(model_code, "in_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(*[GOOD] * 1000)
    assert len(started) < 500


def test_the_local_model_answers_as_labelled():
    """An eighth of the lines that the prompt was written with."""
    lines = pd.read_csv(ROOT / "benchmarks" / "openai_call.csv")
    lines = lines[lines["part"] == "prompt"][::8]
    with local_llm.local_llm():
        answer = predict(*lines["text"], index=lines.index, row_seconds=600)
    assert answer["error"].isna().all()
    mood = lines["sentiment"].notna()
    assert (answer["sentiment"] == lines["sentiment"])[mood].sum() >= mood.sum() - 1
    right = answer["product"].eq(lines["product"]) & answer["price"].eq(lines["price"])
    assert right[~mood].sum() >= (~mood).sum() - 1


def test_the_local_model_is_asked_unless_one_is_named_elsewhere(monkeypatch, capfd):
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{KEY}@there:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    before = dict(os.environ)
    with local_llm.local_llm():
        assert KEY not in os.environ["OPENAI_BASE_URL"] + os.environ["OPENAI_API_KEY"]
        assert predict(GOOD)["error"].tolist() == [None], "went through the proxy"
    assert dict(os.environ) == before
    monkeypatch.setenv("OPENAI_MODEL", "other")
    monkeypatch.setattr(sys, "argv", ["local_llm.py", sys.executable, "-c", "exit(3)"])
    with local_llm.local_llm():
        assert dict(os.environ) == before | {"OPENAI_MODEL": "other"}
    with pytest.raises(SystemExit, match="3"):
        runpy.run_path(local_llm.__file__, run_name="__main__")
    said = [
        f"{local_llm.MODEL} on this machine",
        *["other at there, the environment's endpoint"] * 2,
    ]
    assert capfd.readouterr().out.splitlines() == [f"asks    {line}" for line in said]
