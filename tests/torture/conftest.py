"""The logged models that are under attack, and how often."""

import json
import re

from shared.local_embeddings import EMBEDDING_MODEL

import mlflow
import pytest

from tests.conftest import store_uri
from tests.fake_service import completion, text_of


def echo(handler, body):
    """Answer with the number in the text; embed as ever."""
    if handler.path.endswith("/embeddings"):
        return handler.send_vectors(body)
    number = re.search(r"\d{1,9}", text_of(body))
    fields = {"product": None, "price": float(number[0]) if number else None}
    text = json.dumps(fields | {"sentiment": "positive"})
    handler.send_json(completion("", text))


@pytest.fixture
def model(recipe, logged, folder, service, monkeypatch):
    """The logged model; a recipe that asks a service asks a fake one.

    No trace is sampled here; where tracing is disabled, loading a composite waits for
    ever.
    """
    service.always = echo
    monkeypatch.setenv("OPENAI_EMBEDDING_MODEL", EMBEDDING_MODEL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri(logged))
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "0")
    mlflow.tracing.reset()
    with mlflow.start_span("the first one"):  # reads the ratio
        pass
    yield mlflow.pyfunc.load_model(str(folder(recipe)))
    mlflow.tracing.reset()


@pytest.fixture
def cases(request):
    """Return a function: how many cases of a kind to try."""
    asked = request.config.getoption("--cases")
    return lambda few, many: few if not asked else max(1, many * asked // 10_000)
