"""openai_call: known answers, what a service can do to a row, the checks of a start."""

import json
import os
import runpy
import sys
from unittest.mock import MagicMock

from shared import local_llm

import pytest
from mlflow.exceptions import MlflowException

from recipes.openai_call import driver, model_code
from tests import fake_service
from tests.conftest import KEY
from tests.feedback import GOOD, as_table, load


def predict(*texts, **settings):
    """Return the model's answer under the driver's settings, some of them changed."""
    model = load(model_code, driver.SETTINGS | settings)
    return model.predict(None, as_table(*texts))


def choice(finish_reason, content=None, **message):
    """Return a response with this message."""
    message = {"role": "assistant", "content": content, **message}
    part = {"index": 0, "message": message, "finish_reason": finish_reason}
    return fake_service.completion("", "x") | {"choices": [part]}


LOADING = {"error": {"message": "model is loading", "code": 503}}
CALLS = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    "response, error, words",
    [
        (LOADING, "ServiceError", "model is loading"),
        (choice("tool_calls", tool_calls=CALLS), "ToolCalls", "'f'"),
        (choice("content_filter", "No."), "ContentFilter", "No."),
        (choice("stop"), "InvalidResponse", "Invalid JSON"),
    ],
)
def test_what_a_service_says_in_place_of_an_answer_is_named(
    service, response, error, words
):
    service.more["odd"] = lambda handler, _: handler.send_json(response)
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


def test_each_row_has_its_deadline_and_a_late_one_holds_nobody(service):
    """Eight rows that never end, in a pool of eight, and eight good ones."""
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    later = {"Retry-After": "100"}
    service.more["slow headers"] = endless(b"", b"X-Wait: a\r\n")
    service.more["slow body"] = endless(chunked, b"1\r\n \r\n")
    service.more["later"] = lambda handler, _: handler.send_json({}, 429, later)
    slow = ["[slow headers] x", "[slow body] x", "[later] x", "[silent] x"] * 2
    answer = predict(*[text for late in slow for text in (late, GOOD)], row_seconds=2)
    assert answer["error"].tolist() == ["DeadlineExceeded", None] * 8
    assert answer["detail"][0] == "no answer within 2 seconds"


LIMIT = {"max_completion_tokens": 200}
ONLY_DEFAULT = "Unsupported value: 'temperature' does not support 0"
UNKNOWN = 'Unknown name "store": Cannot find field.'
EXTRA = {"loc": ["body", "max_completion_tokens"], "msg": "extra"}
REFUSALS = {  # the refused field, status and body, what the row says, what helps
    "reasoning model": (
        "temperature",
        400,
        {"error": {"message": ONLY_DEFAULT, "param": "temperature"}},
        "drop 'temperature' from `request`",
        {"request": LIMIT},
    ),
    "no store": (
        "store",
        400,
        [{"error": {"message": UNKNOWN}}],
        "drop 'store' from `request`",
        {"request": LIMIT | {"temperature": 0}},
    ),
    "no max_completion_tokens": (
        "max_completion_tokens",
        422,
        {"detail": [EXTRA]},
        "drop 'max_completion_tokens' from `request`",
        {"request": {"temperature": 0, "max_tokens": 200}},
    ),
    "no json_schema": (
        "json_schema",
        400,
        {"error": {"message": "This response_format type is unavailable now"}},
        "set `response_format` in model_config to another value",
        {"response_format": "json_object"},
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refused_field_is_named_with_the_setting_that_drops_it(service, kind):
    field, status, body, advice, settings = REFUSALS[kind]

    def answer(handler, request):
        if f'"{field}"' in json.dumps(request):
            return handler.send_json(body, status)
        handler.answer(request)

    service.always = answer
    everything = LIMIT | {"temperature": 0, "store": False}
    refused = predict(GOOD, request=everything)
    assert refused["error"][0] in ("BadRequestError", "UnprocessableEntityError")
    assert refused["detail"][0].startswith(advice)
    assert predict(GOOD, **settings)["error"].tolist() == [None]


def test_a_request_holds_what_the_settings_say_and_no_more(service):
    predict(GOOD)
    ((path, body),) = service.requests
    assert path == "/v1/chat/completions" and body["messages"][-1]["content"] == GOOD
    others = {"model", "response_format", "temperature", *LIMIT}
    assert body.keys() - {"messages"} == others
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True and schema["schema"] == model_code.SCHEMA
    assert schema["schema"]["additionalProperties"] is False
    assert schema["schema"]["required"] == ["product", "price", "sentiment"]
    predict(GOOD, request={"max_tokens": 9, "top_k": 1}, response_format=None)
    _, body = service.requests[-1]
    assert body.keys() - {"messages"} == {"model", "max_tokens", "top_k"}
    assert "JSON of this schema" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    "variables, sentence",
    [
        ({"OPENAI_MODEL": ""}, "OPENAI_MODEL is not set"),
        ({"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set"),
        ({"OPENAI_API_KEY": f" {KEY}"}, "OPENAI_API_KEY has a blank"),
        ({"OPENAI_API_KEY": f"{KEY}\xe9"}, "OPENAI_API_KEY has a blank"),
        ({"OPENAI_BASE_URL": ""}, "OPENAI_API_KEY is a placeholder, no key of api.op"),
        ({"OPENAI_BASE_URL": "localhost:8000/v1"}, "OPENAI_BASE_URL is no address"),
        (
            {"OPENAI_BASE_URL": "http://x.invalid", "ALL_PROXY": "socks5://127.0.0.1"},
            "names a SOCKS proxy: install the package socksio",
        ),
    ],
)
def test_an_environment_in_which_no_call_succeeds_is_one_sentence(
    service, variables, sentence, monkeypatch
):
    for name, value in variables.items():
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


@pytest.mark.parametrize(
    "answered, text, kept",
    [
        (("backpack", 35.5), "it broke, 12 dollars", (None, None, "product, price")),
        (("road bike", 1050), "The ROAD Bike, $1,050.00!", ("road bike", 1050, None)),
        (("oven", -3), "the oven at -3", ("oven", -3, None)),
        ((None, None), "the oven at 3", (None, None, None)),
        ((None, -20), "10-20 dollars", (None, None, "price")),
        ((None, 14), "my phone14 broke", (None, None, "price")),
    ],
)
def test_a_quoted_field_that_the_text_lacks_is_emptied_and_listed(answered, text, kept):
    product, price = answered
    answer = model_code.Feedback(product=product, price=price, sentiment="negative")
    row = model_code.without_made_up(answer, text)
    assert (row["product"], row["price"], row["made_up"]) == kept
    assert row["sentiment"] == "negative", "not quoted, so it need not be in the text"


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
    with monkeypatch.context() as own:
        own.setenv("OPENAI_EMBEDDING_MODEL", "a service elsewhere takes the key")
        own.setattr(local_llm, "served", MagicMock())
        local_llm.local_llm().__enter__()
        assert local_llm.served.call_args.args[-1] == KEY
    monkeypatch.setenv("OPENAI_MODEL", "other")
    monkeypatch.setattr(sys, "argv", ["local_llm.py", sys.executable, "-c", "exit(3)"])
    with pytest.raises(SystemExit, match="3"):
        runpy.run_path(local_llm.__file__, run_name="__main__")
    assert capfd.readouterr().out.splitlines() == [
        *[f"asks    {local_llm.MODEL} on this machine"] * 2,
        "asks    other at there, the environment's endpoint",
    ]
