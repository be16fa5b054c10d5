"""openai_call: the local model's known answers, each fault of a service, the key kept secret."""

import json
import os
import runpy
import sys
import threading
from unittest.mock import Mock

from shared import local_llm
from shared.recipes import ROOT, find

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from recipes.openai_call import driver, model_code
from tests import fault_server

KEY = "sk-01234"  # of the shortest that is blotted out
GOOD = "a fine thing"


def predict(*said, index=None):
    table = pd.DataFrame({"text": list(said)}, index=index, dtype=object)
    return model_code.FeedbackReader().predict(None, table)


def point_to(monkeypatch, url, key=KEY):
    """Make this the environment's endpoint."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


@pytest.fixture(name="service")
def running_service(monkeypatch):
    with fault_server.running() as server:
        point_to(monkeypatch, server.url)
        yield server


NO_ANSWER = [*fault_server.CONTENT, *fault_server.BODY, "gzip bomb"]
FAULTS = {  # what it comes to: the row's error, and how often it was tried
    **dict.fromkeys(NO_ANSWER, ("InvalidResponse", 1)),
    **dict.fromkeys(["fenced", "thinks", *fault_server.USAGE], (None, 1)),
    **dict.fromkeys(
        ["408 once", "409 once", "500 once", "429 Retry-After 1 s"], (None, 2)
    ),
    "429 for ever": ("RateLimitError", 3),
    "429 Retry-After 300 s": ("RateLimitError", 1),
    "500 for ever": ("InternalServerError", 3),
    "503 x-should-retry false": ("InternalServerError", 1),
    "400 for ever": ("BadRequestError", 1),
    "401 for ever": ("AuthenticationError", 1),
    "307 elsewhere": ("APIStatusError", 1),
    "hangs up": ("APIConnectionError", 3),
}


def check_faults(server, ask, faults):
    """Ask in one batch, a good text after each: a fault costs its own row, the key is nowhere."""
    assert set(faults) | {"silent", "drips"} == set(fault_server.FAULTS)
    answer = ask([text for fault in faults for text in (f"[{fault}] x", GOOD)])
    said = json.dumps(answer.to_dict("records"), allow_nan=False, ensure_ascii=False)
    assert (
        KEY.encode() not in said.encode()
    )  # UTF-8 as a reply is, with no half of a surrogate
    assert (answer["sentiment"][1::2] == "positive").all()
    for fault, row in (answer := answer[::2].set_axis(list(faults))).iterrows():
        told = fault in fault_server.CONTENT or not (
            row["error"] or fault in fault_server.USAGE
        )
        tokens = (11, 7) if told else (0, 0)
        assert (row["error"], server.calls[fault]) == faults[fault], (
            fault,
            row["detail"],
        )
        assert (row["input_tokens"], row["output_tokens"]) == tokens, fault
        assert row["sentiment"] == (None if row["error"] else "positive"), fault
        assert (0 < len(row["detail"] or "") <= 300) == (row["error"] is not None), (
            fault
        )
    assert len({path for path, _ in server.requests}) == 1, "followed a redirect"
    assert "sent with Bearer ***" in answer["detail"]["401 for ever"]
    assert "***" in answer["detail"]["answer echoes the key"]


def test_a_fault_costs_its_own_row_only(service):
    check_faults(service, lambda said: predict(*said), FAULTS)


def test_silence_ends_in_a_timeout_and_no_server_in_a_connection_error(
    service, monkeypatch
):
    monkeypatch.setattr(model_code, "LIMITS", {"timeout": 0.3, "max_retries": 0})
    assert predict("[silent] x")["error"].tolist() == ["APITimeoutError"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert predict(GOOD)["error"].tolist() == ["APIConnectionError"]


def test_a_request_has_schema_and_limits_and_asks_to_keep_nothing(service, monkeypatch):
    predict(GOOD)
    ((path, body),) = service.requests
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["additionalProperties"] is False
    assert form["schema"]["required"] == ["product", "price", "sentiment"]
    assert body["store"] is False and body["temperature"] == 0
    assert body["model"] == model_code.MODEL and body["max_completion_tokens"] == 100
    assert path == "/v1/chat/completions" and body["messages"][-1]["content"] == GOOD
    monkeypatch.setenv("OPENAI_MODEL", "another")
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # a placeholder
    assert "sent with Bearer none" in predict("[401 for ever] x")["detail"][0]
    assert service.requests[-1][1]["model"] == "another"


@pytest.mark.parametrize(
    "text", [None, "", " \n", 3, float("nan"), pd.NA, "a\ud800", "x" * 4001]
)
def test_what_is_no_text_costs_no_call(service, text):
    answer = predict(GOOD, text, index=["a", "b"])
    assert answer["error"].to_dict() == {"a": None, "b": "InvalidInput"}
    assert answer["detail"]["b"].startswith(
        "column 'text', row 'b': need 1 to 4000 characters: "
    )
    assert len(answer["detail"]["b"]) < 150 and service.calls.total() == 1


def test_no_key_is_needed_if_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert predict("", index=[7])["error"].to_dict() == {7: "InvalidInput"}
    assert list(predict()) == [*driver.FIELDS, *driver.OTHERS]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        predict(GOOD)


@pytest.mark.parametrize(
    "url, key", [("http://[::1", KEY), ("http://there/v1", f"{KEY}\n")]
)
def test_an_unusable_endpoint_is_one_error_without_the_key(monkeypatch, url, key):
    point_to(monkeypatch, url, key)
    with pytest.raises(MlflowException) as raised:
        predict(GOOD)
    assert (
        KEY not in str(raised.value)
        and raised.value.error_code == "INVALID_PARAMETER_VALUE"
    )


@pytest.mark.parametrize("columns", [["t", "x"], ["text", "text"]])
def test_another_table_is_refused(columns):
    with pytest.raises(MlflowException, match="one column 'text'"):
        model_code.FeedbackReader().predict(
            None, pd.DataFrame([[GOOD] * 2], columns=columns)
        )


class Copy(model_code.Feedback):
    stars: int = 5
    tags: list[str] = ["noisy"]


SAID = [
    ("Cobalt backpack", 35.5, "it broke, 12 dollars wasted", (None, None)),
    ("road bike", 1050, "The ROAD Bike for $1,050.00!", ("road bike", 1050)),
    ("oven", -3, "the oven at -3", ("oven", -3)),
    (None, -20, "10-20 dollars", (None, None)),
]


@pytest.mark.parametrize("product, price, text, kept", SAID)
def test_only_what_the_text_says_is_kept_of_a_copy_s_fields_too(
    product, price, text, kept
):
    said = Copy(product=product, price=price, sentiment="negative")
    assert list(model_code.grounded(said, text).values()) == [
        *kept,
        "negative",
        None,
        ["noisy"],
    ]


def test_calls_go_out_side_by_side_and_answers_come_back_in_order(service):
    service.together = threading.Barrier(8)  # answers none until eight wait
    answer = predict(*[GOOD, ""] * 16)
    assert answer["error"].tolist() == [None, "InvalidInput"] * 16
    assert service.calls.total() == 16 and service.peak == model_code.AT_A_TIME == 8


def test_ctrl_c_starts_no_more_calls(monkeypatch):
    monkeypatch.setattr(model_code, "read", read := Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        predict(*[""] * 5000)
    assert read.call_count < 5000


def test_the_local_model_answers_as_labelled(monkeypatch):
    """A quarter of the labelled rows; all sixty are in the benchmark."""
    monkeypatch.setattr(
        model_code, "LIMITS", {"timeout": 600}
    )  # the machine may be busy
    rows = pd.read_csv(ROOT / "benchmarks" / "openai_call.csv")[::4]
    with local_llm.local_llm():
        answer = predict(*rows["text"], index=rows.index)
    assert answer["error"].isna().all()
    mood = rows["sentiment"].notna()
    assert (answer["sentiment"] == rows["sentiment"])[mood].sum() >= 9  # of 10
    same = answer["product"].eq(rows["product"]) & answer["price"].eq(rows["price"])
    assert same[~mood].sum() >= 4  # of 5


def test_the_local_model_is_asked_unless_one_is_named_elsewhere(monkeypatch, capfd):
    point_to(monkeypatch, f"http://me:{KEY}@there:1/v1")
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


@pytest.mark.parametrize("name", ["openai_call", "openai_batch"])
def test_the_stored_example_calls_nobody(name, folder, service, monkeypatch):
    """log_model tries it out, with whatever key is in the environment."""
    monkeypatch.setenv("OPENAI_EMBEDDING_BASE_URL", service.url)
    monkeypatch.setenv("OPENAI_EMBEDDING_MODEL", "all-MiniLM-L6-v2")
    model, stored = str(folder(find(name))), Model.load(str(folder(find(name))))
    example, params = (
        stored.load_input_example(model),
        stored.load_input_example_params(model),
    )
    mlflow.pyfunc.load_model(model).predict(example, params)
    assert service.requests == []
