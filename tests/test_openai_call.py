"""openai_call: the local model's known answers, every fault of a service, the key kept secret."""

import asyncio
import json
import os
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from shared.recipes import find

RECIPE = find("openai_call")
sys.path.insert(0, str(RECIPE.path))  # where model_code.py finds its package, as in a loaded model

import openai_call_client  # noqa: E402

from recipes.openai_call import driver, model_code  # noqa: E402
from shared import local_llm  # noqa: E402
from tests import fault_server  # noqa: E402

KEY = "sk-secret-0123456789"
FAST = {"timeout_s": 1, "deadline_s": 4, "concurrency": 40}
GOOD = ["a fine thing", "another fine thing"]


def reader(**config):
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=FAST | config))
    return model


def texts(*said):
    return pd.DataFrame({"text": list(said)})


@pytest.fixture
def service(monkeypatch):
    """The stand-in as the configured endpoint."""
    with fault_server.stand_in() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield server


@pytest.fixture
def local(monkeypatch):
    """The real local model as the configured endpoint, whatever else is configured."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with local_llm.local_llm():
        yield


# The faults, each beside good rows. What is expected: error, number of attempts, tokens counted.
EXPECTED = {
    "429 Retry-After 1 s": (None, 2, True),
    "429 for ever": ("RateLimitError", 3, False),
    "429 Retry-After 300 s": ("RateLimitError", 1, False),
    "408 once": (None, 2, True),
    "409 once": (None, 2, True),
    "500 once": (None, 2, True),
    "500 for ever": ("InternalServerError", 3, False),
    "503 x-should-retry false": ("InternalServerError", 1, False),
    "400": ("BadRequestError", 1, False),
    "401 echoes the key": ("AuthenticationError", 1, False),
    "HTML": ("InvalidResponse", 1, False),
    "no choices": ("InvalidResponse", 1, False),
    "broken JSON": ("InvalidResponse", 1, False),
    "not of the schema": ("InvalidResponse", 1, True),
    "too long": ("Truncated", 1, True),
    "refusal": ("Refused", 1, True),
    "no usage": (None, 1, False),
    "hangs up": ("APIConnectionError", 3, False),
    "silent": ("DeadlineExceeded", None, False),  # 3 attempts of 1 s and the waits between them
    "drips": ("DeadlineExceeded", 1, False),  # never silent for a second: only the deadline ends it
}


@pytest.fixture(scope="module", params=["chat", "responses"])
def all_faults(request):
    """One batch with every fault in it, a good text before and after each, under a deadline."""
    with fault_server.stand_in() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", server.url)
        environment.setenv("OPENAI_API_KEY", KEY)
        said = [text for fault in fault_server.FAULTS for text in (f"[{fault}] x", GOOD[0])]
        start = time.perf_counter()
        answer = reader(api=request.param, deadline_s=3.5).predict(None, texts(*said))
        return server, answer.assign(text=said).set_index("text"), time.perf_counter() - start


def test_every_fault_of_the_stand_in_has_an_expectation():
    assert set(EXPECTED) == set(fault_server.FAULTS)


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_ends_in_a_typed_error_of_its_row(all_faults, fault):
    server, answer, _ = all_faults
    error, attempts, counted = EXPECTED[fault]
    row = answer.loc[f"[{fault}] x"]
    assert row["error"] == error, row["detail"]
    assert row["sentiment"] == (None if error else "positive")
    assert (row["detail"] is None) == (error is None)
    assert attempts is None or server.calls[fault] == attempts
    assert (row["input_tokens"], row["output_tokens"]) == ((11, 7) if counted else (0, 0))


def test_good_rows_beside_the_faults_are_answered(all_faults):
    _, answer, _ = all_faults
    good = answer.loc[GOOD[0]]
    assert len(good) == len(EXPECTED)
    assert good["error"].isna().all()
    assert (good["sentiment"] == "positive").all()


def test_the_key_is_in_no_row_even_if_the_service_echoes_it(all_faults):
    _, answer, _ = all_faults
    assert "***" in answer.loc["[401 echoes the key] x", "detail"]
    assert KEY not in answer.to_csv()


def test_no_server_at_the_address(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    answer = reader(max_retries=0).predict(None, texts(*GOOD))
    assert answer["error"].tolist() == ["APIConnectionError"] * 2


def test_a_service_that_says_nothing_times_out(service):
    answer = reader(max_retries=0, timeout_s=0.3).predict(None, texts("[silent] x", "fine"))
    assert answer["error"].tolist() == ["APITimeoutError", None]


def test_no_endpoint_is_one_clear_error(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MlflowException, match="set OPENAI_API_KEY .* or OPENAI_BASE_URL"):
        reader().predict(None, texts("x"))


def test_a_text_that_is_none_costs_no_call_and_keeps_its_index(service):
    table = pd.DataFrame({"text": ["fine", None, " ", 3]}, index=["a", "b", "c", "d"])
    answer = reader().predict(None, table)
    assert answer.index.tolist() == ["a", "b", "c", "d"]
    assert answer["error"].tolist() == [None] + ["InvalidInput"] * 3
    assert "column 'text', row 'b'" in answer["detail"]["b"]
    assert service.calls.total() == 1
    empty = reader().predict(None, table[:0])
    assert empty.columns.tolist() == model_code.COLUMNS and len(empty) == 0


def test_cost_comes_from_the_prices_given_and_from_nowhere_else(service):
    assert reader().predict(None, texts("x"))["cost"].tolist() == [None]
    answer = reader().predict(None, texts("x"), {"prices": {"input": 2.0, "output": 10.0}})
    assert answer["cost"][0] == pytest.approx((11 * 2 + 7 * 10) / 1e6)


@pytest.mark.parametrize("prices", [{"input": 1.0}, {"input": -1.0, "output": 1.0}])
def test_half_or_negative_prices_are_refused_before_any_call(service, prices):
    with pytest.raises(MlflowException, match="prices"):
        reader().predict(None, texts("x"), {"prices": prices})
    assert service.calls.total() == 0


def test_what_the_text_does_not_say_is_dropped():
    say = model_code.grounded
    invented = model_code.Feedback(product="Cobalt backpack", price=35.5, sentiment="negative")
    assert say(invented, "it broke, 12 dollars wasted") == {
        "product": None, "price": None, "sentiment": "negative"}  # fmt: skip
    said = model_code.Feedback(product="road bike", price=1050, sentiment="positive")
    assert say(said, "The Road Bike for $1,050.00!") == said.model_dump()


def test_api_and_model_by_endpoint(monkeypatch):
    def chosen(url, config=model_code.CONFIG):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        return openai_call_client.endpoint(config)[:2]

    name = model_code.CONFIG["model"]
    assert chosen("") == ("responses", name)
    assert chosen("https://api.openai.com/v1") == ("responses", name)
    assert chosen("http://127.0.0.1:1/v1") == ("chat", name)
    assert (
        chosen("http://127.0.0.1:1/v1", model_code.CONFIG | {"api": "responses"})[0] == "responses"
    )
    monkeypatch.setenv("OPENAI_MODEL", "other")
    assert chosen("")[1] == "other"
    with pytest.raises(ValueError, match="api must be"):
        chosen("", model_code.CONFIG | {"api": "soap"})


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_requests_carry_the_schema_and_ask_for_nothing_to_be_kept(service, api):
    reader(api=api).predict(None, texts("x"))
    path, body = service.requests[0]
    form = body["response_format"]["json_schema"] if api == "chat" else body["text"]["format"]
    assert path == ("/v1/chat/completions" if api == "chat" else "/v1/responses")
    assert form["strict"] is True
    assert form["schema"]["required"] == ["product", "price", "sentiment"]
    assert form["schema"]["additionalProperties"] is False
    assert form["schema"]["properties"]["sentiment"]["enum"] == ["positive", "negative"]
    assert body.get("store", False) is False
    assert body["temperature"] == 0


def test_unknown_configuration_is_refused():
    with pytest.raises(ValueError, match="unknown keys {'deadline'}"):
        reader(deadline=3)


def test_many_rows_at_a_time_but_no_more_than_asked(monkeypatch):
    with fault_server.stand_in(latency=0.1) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        answer = reader(concurrency=8).predict(None, texts(*["x"] * 32))
        assert answer["error"].isna().all()
        assert server.calls.total() == 32
        assert 4 <= server.peak <= 8


def test_inside_a_running_event_loop_and_in_threads(service, monkeypatch):
    model = reader()
    span, seen = ContextVar("span"), []  # what MLflow's tracing keeps the caller's span in
    create = openai_call_client._create
    see = lambda *client: seen.append(span.get("none")) or create(*client)  # noqa: E731

    async def in_a_notebook():
        monkeypatch.setattr(openai_call_client, "_create", see)
        span.set("the caller's")
        return model.predict(None, texts("x"))

    assert asyncio.run(in_a_notebook())["error"].tolist() == [None]
    assert seen == ["the caller's"]

    answers = {}
    threads = [
        threading.Thread(
            target=lambda n=n: answers.update({n: model.predict(None, texts(*["x"] * n))})
        )
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: len(answer) for n, answer in answers.items()} == {n: n for n in range(1, 9)}
    assert all(answer["error"].isna().all() for answer in answers.values())


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_stream_ends_in_the_row_that_predict_gives(service, api):
    model = reader(api=api)
    *pieces, last = model.predict_stream(None, {"text": "x"})
    assert len(pieces) > 2
    assert json.loads("".join(piece["delta"] for piece in pieces)) == fault_server.ANSWER
    assert last == model.predict(None, texts("x")).to_dict("records")[0]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("hangs up", {"APIConnectionError", "InvalidResponse"}),
        ("drips", {"DeadlineExceeded"}),
        ("silent", {"APITimeoutError"}),
        ("HTML", {"InvalidResponse"}),
        ("401 echoes the key", {"AuthenticationError"}),
        ("too long", {"Truncated"}),
        ("500 once", {"InternalServerError"}),
    ],
)
def test_a_stream_that_fails_ends_in_a_typed_error(service, api, fault, error):
    stream = list(reader(api=api, deadline_s=1.5).predict_stream(None, {"text": f"[{fault}] x"}))
    assert stream[-1]["error"] in error, stream[-1]
    assert KEY not in str(stream)


def test_what_the_service_says_is_cut_and_the_key_hidden(monkeypatch):
    """Whatever the way it came; an error's text is cleaned by the client class as well."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    reply = openai_call_client.failure(
        "InvalidResponse", f"no answer in 'Bearer {KEY}' {'x' * 999}"
    )
    assert reply.detail.startswith("no answer in 'Bearer ***' x") and len(reply.detail) == 300


def test_stream_refuses_a_text_that_is_none(service):
    assert [row["error"] for row in reader().predict_stream(None, {"text": ""})] == ["InvalidInput"]
    assert service.calls.total() == 0


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The model, logged by the driver's own means with an endpoint and a key at hand."""
    store = tmp_path_factory.mktemp("store")
    with fault_server.stand_in() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", server.url)
        environment.setenv("OPENAI_API_KEY", KEY)
        mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
        mlflow.create_experiment("openai_call", (store / "artifacts").as_uri())
        mlflow.set_experiment("openai_call")
        with mlflow.start_run():
            model = driver.log_model()
        assert server.calls.total() == 0, "logging made a call"
        yield server, model, store
    mlflow.set_tracking_uri(None)


def test_the_logged_example_is_there_and_answers_without_a_call(logged):
    service, model, _ = logged
    before = service.calls.total()
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    pd.testing.assert_frame_equal(loaded.input_example, driver.EXAMPLE)
    folder = mlflow.artifacts.download_artifacts(model.model_uri)
    assert mlflow.models.Model.load(folder).load_input_example_params(folder) == {"dry_run": True}
    dry = loaded.predict(driver.EXAMPLE, {"dry_run": True})
    assert dry["error"].tolist() == ["DryRun", "DryRun", "InvalidInput"]
    assert service.calls.total() == before
    assert not list(Path(folder).rglob("__pycache__"))


def test_traces_land_in_the_store_and_the_key_nowhere(logged, caplog, capfd):
    service, model, store = logged
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    mlflow.openai.autolog()
    try:
        answer = loaded.predict(texts("fine", "[401 echoes the key] x", "[HTML] x"))
        streamed = list(loaded.predict_stream({"text": "fine"}))
        mlflow.flush_trace_async_logging()
    finally:
        mlflow.openai.autolog(disable=True)
    assert answer["error"].tolist() == [None, "AuthenticationError", "InvalidResponse"]
    assert streamed[-1]["sentiment"] == "positive"
    traces = mlflow.search_traces(return_type="list")
    assert len(traces) == 4
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces} == {model.model_id}
    used = [trace.info.token_usage for trace in traces if trace.info.token_usage]
    assert [(use["input_tokens"], use["output_tokens"]) for use in used] == [(11, 7)] * 2
    for file in filter(Path.is_file, store.rglob("*")):
        assert KEY.encode() not in file.read_bytes(), file
    assert KEY not in caplog.text and KEY not in "".join(capfd.readouterr())


def test_local_model_answers_as_labelled(local):
    """A third of the labelled rows; all sixty are in the benchmark."""
    rows = pd.read_csv(RECIPE.path / "labelled.csv")[::3]
    answer = reader(timeout_s=60, deadline_s=120).predict(None, rows[["text"]])
    assert answer["error"].isna().all()
    assert answer["sentiment"].isin(["positive", "negative"]).all()
    mood = rows["sentiment"].notna()
    assert (answer["sentiment"] == rows["sentiment"])[mood].sum() >= 12  # of 14
    same = answer["product"].eq(rows["product"]) & answer["price"].eq(rows["price"])
    assert same[~mood].sum() >= 5  # of 6


def test_local_server_keeps_to_a_schema_over_chat_only(local):
    """Why compatible servers are asked over chat; good news if this fails one day."""
    said = {}
    for api in ("chat", "responses"):
        config = model_code.CONFIG | {"api": api, "timeout_s": 60, "max_output_tokens": 20}
        hello = [{"role": "user", "content": "Hello"}]
        said[api] = openai_call_client.ask([hello], {"const": "xyzzy"}, config, True)[0]
    assert said["chat"].text == '"xyzzy"'
    assert said["responses"].text != '"xyzzy"' and said["responses"].output_tokens > 0


def test_the_local_model_answers_unless_one_is_named_elsewhere(monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{KEY}@there:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
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
