"""openai_batch: each fault of a service over two APIs, streams, deadlines, interrupts, the key."""

import asyncio
import json
import os
import signal
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import httpx2
import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from shared import local_llm
from shared.recipes import find
from tests import fault_server
from tests.test_openai_call import EXPECTED, GOOD, KEY, point_to

RECIPE = find("openai_batch")
sys.path.insert(0, str(RECIPE.path))  # where model_code.py finds its package, as in a loaded model

import openai_batch_client  # noqa: E402

from recipes.openai_batch import driver, model_code  # noqa: E402

both_apis = pytest.mark.parametrize("api", ["chat", "responses"])
FAULTS = EXPECTED | {"too long": ("Truncated", 1), "refusal": ("Refused", 1)}
FAULTS |= {"gzip bomb": ("InvalidResponse", 1)}


def reader(**config):
    model = model_code.FeedbackReader()
    model.load_context(SimpleNamespace(model_config=config))
    return model


def texts(*said):
    return pd.DataFrame({"text": list(said)}, dtype=object)


@pytest.fixture
def service(monkeypatch):
    """A fake service as the endpoint."""
    with fault_server.running() as server:
        point_to(monkeypatch, server.url)
        yield server


@pytest.fixture(scope="module", params=["chat", "responses"])
def all_faults(request):
    """One batch with every fault that ends by itself, a good text after each."""
    with fault_server.running() as server, pytest.MonkeyPatch.context() as environment:
        point_to(environment, server.url)
        said = [text for fault in FAULTS for text in (f"[{fault}] x", GOOD)]
        answer = reader(api=request.param, concurrency=40).predict(None, texts(*said))
        yield server, answer.assign(text=said).set_index("text")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_own_row_only(all_faults, fault):
    server, answer = all_faults
    error, attempts = FAULTS[fault]
    row = answer.loc[f"[{fault}] x"]
    assert row["error"] == error, row["detail"]
    assert server.calls[fault] == attempts
    assert row["sentiment"] == (None if error else "positive")
    assert (row["detail"] is None) == (error is None)
    assert error is None or 0 < len(row["detail"]) <= 300
    counted = fault in fault_server.CONTENT or (error is None and fault not in fault_server.USAGE)
    assert (row["input_tokens"], row["output_tokens"]) == ((11, 7) if counted else (0, 0))


def test_good_rows_are_answered_nothing_goes_elsewhere_and_the_key_is_in_no_row(all_faults):
    server, answer = all_faults
    good = answer.loc[GOOD]
    assert len(good) == len(FAULTS) and (good["sentiment"] == "positive").all()
    assert len({path for path, _ in server.requests}) == 1
    json.dumps(answer.to_dict("records"), allow_nan=False)
    assert "sent with Bearer ***" in answer.loc["[401 echoes the key] x", "detail"]
    assert "***" in answer.loc["[answer echoes the key] x", "detail"]
    assert KEY not in answer.to_csv()


@both_apis
@pytest.mark.parametrize("fault", ["silent", "drips"])
def test_the_deadline_ends_what_never_ends(service, api, fault):
    """A reply that drips is never silent; only the deadline, over all attempts, ends it."""
    model = reader(api=api, deadline_s=0.5)
    assert model.predict(None, texts(f"[{fault}] x"))["error"].tolist() == ["DeadlineExceeded"]
    *_, last = model.predict_stream(None, {"text": f"[{fault}] x"})
    assert last["error"] == "DeadlineExceeded"


def test_silence_ends_in_a_timeout_and_no_server_in_a_connection_error(service, monkeypatch):
    model = reader(client={"timeout": 0.3, "max_retries": 0})
    answer = model.predict(None, texts("[silent] x", GOOD))
    assert answer["error"].tolist() == ["APITimeoutError", None]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert model.predict(None, texts(GOOD))["error"].tolist() == ["APIConnectionError"]


@both_apis
def test_requests_carry_schema_and_limit_and_ask_for_nothing_to_be_kept(service, api):
    model = reader(api=api)
    model.predict(None, texts(GOOD))
    list(model.predict_stream(None, {"text": GOOD}))
    for number, (path, body) in enumerate(service.requests):
        chat = api == "chat"
        form = body["response_format"]["json_schema"] if chat else body["text"]["format"]
        assert path == ("/v1/chat/completions" if chat else "/v1/responses")
        assert form["strict"] is True and form["schema"]["additionalProperties"] is False
        assert body["store"] is False and body["temperature"] == 0
        assert body["max_completion_tokens" if chat else "max_output_tokens"] == 100
        assert body["stream"] is bool(number)


def test_the_fake_service_refuses_a_request_without_a_token_limit(service):
    body = {"messages": [{"role": "user", "content": GOOD}]}
    assert httpx2.post(f"{service.url}/chat/completions", json=body).status_code == 400


def test_api_and_model_follow_the_endpoint(monkeypatch):
    def chosen(url, api="auto"):
        point_to(monkeypatch, url)
        return openai_batch_client.Service({}, openai_batch_client.Config(api=api), True).chat

    assert chosen("http://127.0.0.1:1/v1") and not chosen("https://api.openai.com/v1")
    assert chosen("https://api.openai.com/v1", "chat")
    assert not chosen("http://127.0.0.1:1/v1", "responses")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert not openai_batch_client.Service({}, openai_batch_client.Config(), True).chat


@pytest.mark.parametrize("config", [{"deadline": 3}, {"api": "soap"}, {"concurrency": "8"}])
def test_junk_configuration_is_refused_when_the_model_is_loaded(config):
    with pytest.raises(ValidationError, match=next(iter(config))):
        reader(**config)


def test_the_configured_and_the_environment_s_model(service, monkeypatch):
    reader(model="mine").predict(None, texts(GOOD))
    monkeypatch.setenv("OPENAI_MODEL", "another")
    reader(model="mine").predict(None, texts(GOOD))
    assert [body["model"] for _, body in service.requests] == ["mine", "another"]


@pytest.mark.parametrize("text", [None, "", " \n", 3, pd.NA, "a\ud800", "x" * 4001])
def test_what_is_no_text_costs_no_call(service, text):
    table = texts(GOOD, text).set_axis(["a", "b"])
    answer = reader().predict(None, table)
    assert answer["error"].to_dict() == {"a": None, "b": "InvalidInput"}
    assert answer["detail"]["b"].startswith("column 'text', row 'b': need 1 to 4000 characters: ")
    assert [row["error"] for row in reader().predict_stream(None, {"text": text})] == [
        "InvalidInput"
    ]
    assert service.calls.total() == 1


def test_a_dry_run_calls_nobody_and_needs_no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    model, dry = reader(), {"dry_run": True}
    assert model.predict(None, texts(GOOD, ""), dry)["error"].tolist() == ["DryRun", "InvalidInput"]
    assert [row["error"] for row in model.predict_stream(None, {"text": GOOD}, dry)] == ["DryRun"]
    assert list(model.predict(None, texts())) == [*driver.FIELDS, *driver.OTHERS]
    with pytest.raises(MlflowException, match="OPENAI_API_KEY"):
        model.predict(None, texts(GOOD))


@pytest.mark.parametrize("key, url", [(f"{KEY}\n", "http://there/v1"), (KEY, "http://[::1")])
def test_an_unusable_endpoint_is_one_error_without_the_key(monkeypatch, key, url):
    point_to(monkeypatch, url, key)
    with pytest.raises(MlflowException) as raised:
        reader().predict(None, texts(GOOD))
    assert KEY not in str(raised.value) and raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_cost_comes_from_the_prices_given_and_from_nowhere_else(service):
    model, one = reader(), texts(GOOD)
    assert model.predict(None, one, {"input_price": 2.0})["cost"].tolist() == [None]
    answer = model.predict(None, one, {"input_price": 2.0, "output_price": 10})
    assert answer["cost"][0] == pytest.approx((11 * 2 + 7 * 10) / 1e6)


@pytest.mark.parametrize(
    "params", [{"input_price": -1.0}, {"input_price": "2"}, {"dry_run": 1}, {"prices": {}}], ids=str
)
def test_junk_params_are_refused_before_any_call(service, params):
    with pytest.raises(MlflowException, match=next(iter(params))):
        reader().predict(None, texts(GOOD), params)
    assert service.calls.total() == 0


@pytest.mark.parametrize("table", ["x", [GOOD], pd.DataFrame([[1, 2]], columns=["text"] * 2)])
def test_another_table_is_refused(table):
    with pytest.raises(MlflowException, match="one column 'text'"):
        reader().predict(None, table)
    assert [row["error"] for row in reader().predict_stream(None, "x")] == ["InvalidInput"]


def test_only_what_the_text_says_is_kept():
    def kept(text, **fields):
        said = model_code.Feedback(sentiment="positive", **fields)
        fields = model_code.grounded(said, text)
        return fields["product"], fields["price"], fields["sentiment"]

    road = {"product": "road bike", "price": 1050}
    assert kept("The ROAD Bike for $1,050.00!", **road) == ("road bike", 1050, "positive")
    assert kept("it broke, 10-50 dollars wasted", **road) == (None, None, "positive")


def test_many_rows_at_a_time_but_no_more_than_asked(monkeypatch):
    with fault_server.running(latency=0.1) as server:
        point_to(monkeypatch, server.url)
        answer = reader(concurrency=8).predict(None, texts(*[GOOD, ""] * 16))
        assert answer["error"].tolist() == [None, "InvalidInput"] * 16
        assert server.calls.total() == 16 and 4 <= server.peak <= 8


def test_inside_a_running_event_loop_and_in_threads(service, monkeypatch):
    model = reader()
    span, seen = ContextVar("span"), []  # what MLflow's tracing keeps the caller's span in
    answer = openai_batch_client.Service._answer

    def see(*args):
        seen.append(span.get("none"))
        return answer(*args)

    async def in_a_notebook():
        monkeypatch.setattr(openai_batch_client.Service, "_answer", see)
        span.set("the caller's")
        return model.predict(None, texts(GOOD))

    assert asyncio.run(in_a_notebook())["error"].tolist() == [None]
    assert seen == ["the caller's"]
    answers = {}
    threads = [
        threading.Thread(
            target=lambda n=n: answers.update({n: model.predict(None, texts(*[GOOD] * n))})
        )
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: answer["error"].isna().sum() for n, answer in answers.items()} == {
        n: n for n in range(1, 9)
    }


def test_ctrl_c_ends_a_batch_at_once_in_a_running_loop_too(service):
    async def in_a_notebook():
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        reader(deadline_s=0.4, concurrency=1).predict(None, texts(*["[silent] x"] * 20))

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(in_a_notebook())
    loop.close()
    assert service.calls["silent"] < 15
    assert "run_until_complete" not in str(threading.enumerate())


@both_apis
@pytest.mark.parametrize("text", [GOOD, "[500 once] x"])
def test_a_stream_ends_in_the_row_that_predict_gives(service, api, text):
    model = reader(api=api)
    *pieces, last = model.predict_stream(None, {"text": text})
    assert len(pieces) > 2
    assert json.loads("".join(piece["delta"] for piece in pieces)) == fault_server.ANSWER
    assert last == model.predict(None, texts(text)).to_dict("records")[0]


@both_apis
@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        ("hangs up", {"APIConnectionError", "InvalidResponse"}),
        ("HTML", {"InvalidResponse"}),
        ("body echoes the key", {"InvalidResponse"}),
        ("401 echoes the key", {"AuthenticationError"}),
        ("answer echoes the key", {"InvalidResponse"}),
        ("too long", {"Truncated"}),
        ("gzip bomb", {"InvalidResponse"}),
    ],
)
def test_a_stream_that_fails_ends_in_a_typed_error(service, api, fault, errors):
    *pieces, last = reader(api=api).predict_stream(None, {"text": f"[{fault}] x"})
    assert last["error"] in errors, last
    assert KEY not in "".join(piece["delta"] for piece in pieces) + str(last)
    if fault == "answer echoes the key":
        assert "***" in "".join(piece["delta"] for piece in pieces)


def test_a_stream_that_is_closed_ends_its_thread(service):
    stream = reader().predict_stream(None, {"text": "[drips] x"})
    next(stream)
    assert "run_until_complete" in str(threading.enumerate())
    stream.close()
    assert "run_until_complete" not in str(threading.enumerate())


def test_the_driver_logs_without_a_call_and_the_key_is_nowhere(
    service, tmp_path, monkeypatch, capfd, caplog
):
    """The driver as it is, then services that echo the key: traces, store and output."""
    monkeypatch.setenv("OPENAI_MODEL", "fake")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("openai_batch", (tmp_path / "artifacts").as_uri())
    real, calls = mlflow.pyfunc.log_model, []
    monkeypatch.setattr(
        mlflow.pyfunc, "log_model", lambda **k: (real(**k), calls.append(service.calls.total()))[0]
    )
    driver.main()
    assert calls == [0], "logging called the service"
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["texts answered"] == 2 and run.data.metrics["cost in USD"] > 0
    (model,) = mlflow.search_logged_models(output_format="list")
    assert {metric.key for metric in model.metrics} == set(run.data.metrics)
    assert run.inputs.dataset_inputs
    mlflow.tracing.reset()  # the driver ended its tracing
    mlflow.tracing.configure(span_processors=[driver.without_key])
    mlflow.openai.autolog()
    try:
        loaded = mlflow.pyfunc.load_model(model.model_uri)
        faults = ["401 echoes the key", "answer echoes the key", "HTML"]
        loaded.predict(texts(*[f"[{fault}] x" for fault in faults]))
        list(loaded.predict_stream({"text": "[answer echoes the key] x"}))
        mlflow.flush_trace_async_logging()
    finally:
        mlflow.openai.autolog(disable=True)
        mlflow.tracing.configure(span_processors=[])
    traces = mlflow.search_traces(return_type="list")
    assert len(traces) == 6
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces} == {model.model_id}
    assert sum("***" in trace.to_json() for trace in traces) == 3
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        assert KEY.encode() not in file.read_bytes(), file
    folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    assert mlflow.models.Model.load(folder).load_input_example_params(folder) == {"dry_run": True}
    assert KEY not in caplog.text + "".join(capfd.readouterr())
    mlflow.set_tracking_uri(None)


def test_a_dead_service_fails_the_driver_in_one_line(tmp_path, monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_MODEL", "fake")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="^no text was answered: APIConnectionError: Connection e"):
        driver.main()
    mlflow.set_tracking_uri(None)


def test_the_local_server_keeps_to_a_schema_over_chat_only():
    """Why compatible servers are asked over chat; good news if this fails one day."""
    said = {}
    with local_llm.local_llm():
        for api in ("chat", "responses"):
            config = openai_batch_client.Config(api=api, max_output_tokens=20)
            service = openai_batch_client.Service({"const": "xyzzy"}, config, True)
            (said[api],) = service.ask([[{"role": "user", "content": "Hello"}]])
    assert said["chat"].text == '"xyzzy"'
    assert said["responses"].error or said["responses"].text != '"xyzzy"'
