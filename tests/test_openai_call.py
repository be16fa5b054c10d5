"""openai_call: the local model's known answers, each fault of a service, the key kept secret."""

import json
import os
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from recipes.openai_call import driver, model_code
from shared import local_llm
from shared.recipes import ROOT
from tests import fault_server

KEY = "sk-secret-0123456789"
GOOD = "a fine thing"


def predict(*said, index=None):
    table = pd.DataFrame({"text": list(said)}, index=index, dtype=object)
    return model_code.FeedbackReader().predict(None, table)


def point_to(monkeypatch, url, key=KEY):
    """Make this the environment's endpoint."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


@pytest.fixture
def service(monkeypatch):
    """A fake service as the endpoint."""
    with fault_server.running() as server:
        point_to(monkeypatch, server.url)
        yield server


# What a fault comes to: the row's error, and how often it was tried.
ANSWERED, INVALID = (None, 1), ("InvalidResponse", 1)
EXPECTED = {
    "429 Retry-After 1 s": (None, 2),
    "429 for ever": ("RateLimitError", 3),
    "429 Retry-After 300 s": ("RateLimitError", 1),
    "408 once": (None, 2),
    "409 once": (None, 2),
    "500 once": (None, 2),
    "500 for ever": ("InternalServerError", 3),
    "503 x-should-retry false": ("InternalServerError", 1),
    "400": ("BadRequestError", 1),
    "401 echoes the key": ("AuthenticationError", 1),
    "307 elsewhere": ("APIStatusError", 1),
    **dict.fromkeys(fault_server.CONTENT | fault_server.BODY, INVALID),
    **dict.fromkeys(["fenced", "thinks", *fault_server.USAGE], ANSWERED),
    "gzip bomb": INVALID,
    "hangs up": ("APIConnectionError", 3),
}


@pytest.fixture(scope="module")
def all_faults():
    """One batch with every fault that ends by itself, a good text after each."""
    with fault_server.running() as server, pytest.MonkeyPatch.context() as environment:
        point_to(environment, server.url)
        said = [text for fault in EXPECTED for text in (f"[{fault}] x", GOOD)]
        answer = predict(*said).assign(text=said).set_index("text")
        yield server, answer


def test_every_fault_has_an_expectation():
    assert set(EXPECTED) | {"silent", "drips"} == set(fault_server.FAULTS)


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_costs_its_own_row_only(all_faults, fault):
    server, answer = all_faults
    error, attempts = EXPECTED[fault]
    row = answer.loc[f"[{fault}] x"]
    assert row["error"] == error, row["detail"]
    assert server.calls[fault] == attempts
    assert row["sentiment"] == (None if error else "positive")
    assert (row["detail"] is None) == (error is None)
    assert error is None or 0 < len(row["detail"]) <= 300
    counted = fault in fault_server.CONTENT or (error is None and fault not in fault_server.USAGE)
    assert (row["input_tokens"], row["output_tokens"]) == ((11, 7) if counted else (0, 0))


def test_good_rows_beside_the_faults_are_answered_and_nothing_goes_elsewhere(all_faults):
    server, answer = all_faults
    good = answer.loc[GOOD]
    assert len(good) == len(EXPECTED) and (good["sentiment"] == "positive").all()
    assert {path for path, _ in server.requests} == {"/v1/chat/completions"}
    json.dumps(answer.to_dict("records"), allow_nan=False)


def test_the_key_is_in_no_row(all_faults):
    _, answer = all_faults
    assert "sent with Bearer ***" in answer.loc["[401 echoes the key] x", "detail"]
    assert "***" in answer.loc["[answer echoes the key] x", "detail"]
    assert KEY not in answer.to_csv()


def test_silence_ends_in_a_timeout_and_no_server_in_a_connection_error(service, monkeypatch):
    monkeypatch.setattr(model_code, "LIMITS", {"timeout": 0.3, "max_retries": 0})
    answer = predict("[silent] x", GOOD)
    assert answer["error"].tolist() == ["APITimeoutError", None]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert predict(GOOD)["error"].tolist() == ["APIConnectionError"]


def test_the_request_carries_schema_and_limits_and_asks_for_nothing_to_be_kept(service):
    predict(GOOD)
    ((_, body),) = service.requests
    form = body["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["additionalProperties"] is False
    assert form["schema"]["required"] == ["product", "price", "sentiment"]
    assert body["store"] is False and body["temperature"] == 0
    assert body["model"] == model_code.MODEL and body["max_completion_tokens"] == 100
    assert body["messages"][-1] == {"role": "user", "content": GOOD}
    assert model_code.LIMITS == {"timeout": 20, "max_retries": 2}


def test_the_environment_names_the_model_and_a_short_key_is_a_placeholder(service, monkeypatch):
    monkeypatch.setenv("OPENAI_MODEL", "another")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    answer = predict(GOOD, "[401 echoes the key] x")
    assert service.requests[0][1]["model"] == "another"
    assert "sent with Bearer none" in answer["detail"][1]


@pytest.mark.parametrize("text", [None, "", " \n", 3, float("nan"), pd.NA, "a\ud800", "x" * 4001])
def test_what_is_no_text_costs_no_call(service, text):
    answer = predict(GOOD, text, index=["a", "b"])
    assert answer["error"].tolist() == [None, "InvalidInput"]
    assert answer["detail"]["b"].startswith("column 'text', row 'b': need 1 to 4000 characters: ")
    assert len(answer["detail"]["b"]) < 150
    assert service.calls.total() == 1


def test_rows_keep_their_index_and_need_no_key_if_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert predict("", index=[7])["error"].to_dict() == {7: "InvalidInput"}
    assert list(predict()) == [*driver.FIELDS, *driver.OTHERS]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        predict(GOOD)


@pytest.mark.parametrize("url, key", [("http://[::1", KEY), ("http://there/v1", f"{KEY}\n")])
def test_an_unusable_endpoint_is_one_error_without_the_key(monkeypatch, url, key):
    point_to(monkeypatch, url, key)
    with pytest.raises(MlflowException) as raised:
        predict(GOOD)
    assert KEY not in str(raised.value) and raised.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "table",
    ["x", [GOOD], pd.DataFrame({"t": [GOOD]}), pd.DataFrame([[GOOD] * 2], columns=["text"] * 2)],
    ids=str,
)
def test_another_table_is_refused(table):
    with pytest.raises(MlflowException, match="one column 'text'"):
        model_code.FeedbackReader().predict(None, table)


@pytest.mark.parametrize(
    "product, price, text, kept",
    [
        ("Cobalt backpack", 35.5, "it broke, 12 dollars wasted", (None, None)),
        ("road bike", 1050, "The ROAD Bike for $1,050.00!", ("road bike", 1050)),
        ("oven", -3, "the oven at -3", ("oven", -3)),
        (None, 20, "10-20 dollars", (None, 20)),
        (None, -20, "10-20 dollars", (None, None)),
        (None, 5.25, "for USD5.25.", (None, 5.25)),
    ],
)
def test_only_what_the_text_says_is_kept(product, price, text, kept):
    said = model_code.Feedback(product=product, price=price, sentiment="negative")
    fields = model_code.grounded(said, text)
    assert fields == {"product": kept[0], "price": kept[1], "sentiment": "negative"}


def test_calls_go_out_side_by_side_and_answers_come_back_in_order(monkeypatch):
    with fault_server.running(latency=0.1) as server:
        point_to(monkeypatch, server.url)
        answer = predict(*[GOOD, ""] * 16)
        assert answer["error"].tolist() == [None, "InvalidInput"] * 16
        assert server.calls.total() == 16 and 4 <= server.peak <= model_code.AT_A_TIME == 8


def test_ctrl_c_starts_no_more_calls(service, monkeypatch):
    read = model_code.read

    def interrupted(client, row, text):
        if row == 0:
            raise KeyboardInterrupt
        return read(client, row, text)

    monkeypatch.setattr(model_code, "AT_A_TIME", 1)
    monkeypatch.setattr(model_code, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(*[GOOD] * 50)
    assert service.calls.total() < 25


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("openai_call", (folder / "artifacts").as_uri())
    mlflow.set_experiment("openai_call")
    yield folder
    mlflow.set_tracking_uri(None)


def test_the_driver_logs_without_a_call_and_the_key_is_nowhere(
    service, store, monkeypatch, capfd, caplog
):
    """The driver as it is, against a service that echoes the key: traces, store and output."""
    monkeypatch.setenv("OPENAI_MODEL", "fake")
    calls = []
    real = mlflow.pyfunc.log_model
    monkeypatch.setattr(
        mlflow.pyfunc, "log_model", lambda **k: (real(**k), calls.append(service.calls.total()))[0]
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    driver.main()
    assert calls == [0], "logging called the service"
    said = capfd.readouterr()
    assert said.out.splitlines()[0] == "asks    fake at 127.0.0.1, the environment's endpoint"
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["texts answered"] == 2 and run.data.metrics["input tokens"] == 22
    assert run.inputs.dataset_inputs and run.data.params == {"language model": "fake"}
    (model,) = mlflow.search_logged_models(output_format="list")
    assert {metric.key for metric in model.metrics} == set(run.data.metrics)
    mlflow.tracing.reset()  # the driver ended its tracing
    mlflow.openai.autolog()
    try:
        loaded = mlflow.pyfunc.load_model(model.model_uri)
        faults = ["401 echoes the key", "answer echoes the key", "HTML"]
        loaded.predict(pd.DataFrame({"text": [f"[{fault}] x" for fault in faults]}))
        mlflow.flush_trace_async_logging()
    finally:
        mlflow.openai.autolog(disable=True)
    traces = mlflow.search_traces(return_type="list")
    assert len(traces) == 5
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces} == {model.model_id}
    assert any("***" in trace.to_json() for trace in traces)
    for file in filter(Path.is_file, store.rglob("*")):
        assert KEY.encode() not in file.read_bytes(), file
    assert KEY not in caplog.text + said.out + said.err + "".join(capfd.readouterr())


def test_a_dead_service_fails_the_driver_in_one_line(store, monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_MODEL", "fake")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
    with pytest.raises(SystemExit, match="^no text was answered: APIConnectionError: Connection e"):
        driver.main()
    assert mlflow.search_runs(output_format="list")[0].info.status == "FAILED"


def test_the_local_model_answers_as_labelled(monkeypatch):
    """A quarter of the labelled rows; all sixty are in the benchmark."""
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
    before = dict(os.environ)
    with local_llm.local_llm():
        assert os.environ["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
        assert os.environ["OPENAI_MODEL"] == local_llm.MODEL
        assert os.environ["OPENAI_API_KEY"] != KEY
    assert dict(os.environ) == before
    monkeypatch.setenv("OPENAI_MODEL", "other")
    before = dict(os.environ)
    with local_llm.local_llm():
        assert dict(os.environ) == before
    monkeypatch.setattr(sys, "argv", ["local_llm.py", sys.executable, "-c", "exit(3)"])
    assert local_llm.main() == 3
    said = capfd.readouterr().out.splitlines()
    assert (
        said
        == [f"asks    {local_llm.MODEL} on this machine"]
        + ["asks    other at there, the environment's endpoint"] * 2
    )
