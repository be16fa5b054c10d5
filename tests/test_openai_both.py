"""openai_call and openai_batch: what both make of faults and of odd texts."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import mlflow
import pandas as pd
import pytest
from pydantic import ValidationError

from recipes.openai_batch import model_code as batch_code
from recipes.openai_call import driver
from recipes.openai_call import model_code as call_code
from tests import fake_service
from tests.conftest import KEY
from tests.feedback import GOOD, as_table, load, stream


def ask_with(code, config, *texts, index=None, **more):
    """Return the model's answer under the config, some of it changed."""
    return load(code, config | more).predict(None, as_table(*texts, index=index))


READERS = {
    "call": partial(ask_with, call_code, driver.SETTINGS),
    "batch over chat": partial(ask_with, batch_code, {"api": "chat"}),
    "batch over responses": partial(ask_with, batch_code, {"api": "responses"}),
}
every_reader = pytest.mark.parametrize("ask", READERS.values(), ids=READERS)

NO_ANSWER = [*fake_service.CONTENT, *fake_service.BODY, "gzip bomb"]
RETRIED = ["408 once", "409 once", "500 once", "429 Retry-After 1 s"]
FAULTS = {  # the row's error, and how often the service was asked
    **dict.fromkeys(NO_ANSWER, ("InvalidResponse", 1)),
    **dict.fromkeys(["fenced", "thinks", *fake_service.USAGE], (None, 1)),
    **dict.fromkeys(RETRIED, (None, 2)),
    "429 for ever": ("RateLimitError", 3),
    "429 Retry-After 300 s": ("RateLimitError", 1),
    "500 for ever": ("InternalServerError", 3),
    "503 x-should-retry false": ("InternalServerError", 1),
    "400 for ever": ("BadRequestError", 1),
    "401 for ever": ("AuthenticationError", 1),
    "307 elsewhere": ("APIStatusError", 1),
    "hangs up": ("APIConnectionError", 3),
    "too long": ("Truncated", 1),
    "refusal": ("Refused", 1),
}


@every_reader
def test_a_fault_costs_its_own_row_only(service, ask):
    """All in one table, a good text after each."""
    assert {*FAULTS, "silent", "drips"} == set(fake_service.FAULTS)
    answer = ask(*[text for fault in FAULTS for text in (f"[{fault}] x", GOOD)])
    said = json.dumps(answer.to_dict("records"), allow_nan=False, ensure_ascii=False)
    assert KEY.encode() not in said.encode()  # fails on half of a surrogate
    assert (answer["sentiment"][1::2] == "positive").all()
    answer = answer[::2].set_axis(list(FAULTS))
    told = {fault: (answer["error"][fault], service.calls[fault]) for fault in FAULTS}
    assert told == FAULTS
    for fault, row in answer.iterrows():
        failed = row["error"] is not None
        counted = fault in fake_service.CONTENT
        counted = counted or not (failed or fault in fake_service.USAGE)
        tokens = (11, 7) if counted else (0, 0)
        assert (row["input_tokens"], row["output_tokens"]) == tokens, fault
        assert row["sentiment"] == (None if failed else "positive"), fault
        assert (0 < len(row["detail"] or "") <= 300) == failed, fault
    assert len({path for path, _ in service.requests}) == 1, "followed a redirect"
    assert "sent with Bearer ***" in answer["detail"]["401 for ever"]
    assert "***" in answer["detail"]["answer echoes the key"]
    assert "can't help" in answer["detail"]["refusal"]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_with_a_fault_ends_in_a_row(service, api):
    """What breaks off ends in one of two errors; one without usage is an answer."""
    model = load(batch_code, {"api": api})
    broken = {"hangs up", "gzip bomb", *fake_service.BODY, *fake_service.USAGE}
    faults = FAULTS.keys() - {"deep answer"}  # which is 25,000 events
    texts = [f"[{fault}] x" for fault in faults]
    with ThreadPoolExecutor(40) as pool:
        answers = pool.map(partial(stream, model), texts)
        for fault, (text, row) in zip(faults, answers, strict=True):
            assert row["error"] == FAULTS[fault][0] or fault in broken, (fault, row)
            assert KEY not in text + str(row), fault
            assert len(row["detail"] or "") <= 300
            assert row["error"] or row["sentiment"] == "positive"


NO_TEXTS = [None, "", " \n", 3, float("nan"), pd.NA, "a\ud800", "x" * 4001]


@every_reader
def test_what_is_no_text_costs_no_call(service, ask):
    labels = [f"row {number}, {'x' * 1000}" for number in range(len(NO_TEXTS))]
    answer = ask(GOOD, *NO_TEXTS, index=["good", *labels])
    assert answer.index.tolist() == ["good", *labels]
    assert answer["error"].tolist() == [None] + ["InvalidInput"] * len(NO_TEXTS)
    for label in labels:
        need = f"column 'text', row {label!r:.80}: need 1 to 4000 characters"
        assert answer["detail"][label].startswith(need)
        assert len(answer["detail"][label]) < 250
    (row,) = load(batch_code, {}).predict_stream(None, {"text": ""})
    assert row["error"] == "InvalidInput"
    assert service.calls.total() == 1


@every_reader
def test_no_key_is_needed_if_nobody_is_called(monkeypatch, ask):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert ask("", index=[7])["error"].to_dict() == {7: "InvalidInput"}
    assert list(ask()) == list(ask(""))


both = pytest.mark.parametrize("code", [call_code, batch_code], ids=["call", "batch"])


@both
def test_a_setting_that_does_not_exist_is_refused_when_the_model_is_loaded(code):
    with pytest.raises(ValidationError, match="deadline"):
        load(code, {"deadline": 3})


@both
@pytest.mark.parametrize("columns", [["t", "x"], ["text", "text"]])
def test_another_table_is_refused(code, columns):
    table = pd.DataFrame([[GOOD] * 2], columns=columns)
    with pytest.raises(mlflow.MlflowException, match="one column 'text'"):
        load(code, {}).predict(None, table)


@pytest.mark.parametrize(
    "reader, config, limit",
    [("call", {}, 8), ("batch over chat", {"concurrency": 110}, 110)],
)
def test_calls_go_out_side_by_side_and_answers_come_back_in_order(
    service, reader, config, limit
):
    service.together = threading.Barrier(limit)  # answers none until so many wait
    ask = partial(READERS[reader], **config)
    rows = 2 * limit
    assert ask(*[GOOD, ""] * rows)["error"].tolist() == [None, "InvalidInput"] * rows
    assert service.calls.total() == rows and service.peak == limit
