"""Hostile input at every recipe's logged model, in Python and over MLflow's own server.

Allowed is the right answer, or one short error of ours: MlflowException, status 400.
What MLflow does by itself before the model is asked, or instead, is counted apart.
`make torture` runs many more cases than `make test` and leaves the counts in
build/torture.json.
"""

import json
import math
import socket
import threading
import traceback
import warnings
from contextlib import contextmanager
from http.client import HTTPConnection

from shared.recipes import discover

import mlflow
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.torture import hostile
from tests.torture.oracles import check
from tests.torture.services import service

pytestmark = pytest.mark.filterwarnings("ignore")
every_recipe = pytest.mark.parametrize(
    "recipe", discover(), ids=lambda recipe: recipe.name
)
of_tables = pytest.mark.parametrize(
    "recipe",
    [r for r in discover() if hostile.asks_a_table(r.json("request.json"))],
    ids=lambda recipe: recipe.name,
)
# The others get 1,000 rows.
MILLION = ("circle_area", "clv_composite", "pc_causal_discovery", "pc_fast")


@pytest.fixture
def model(recipe, folder):
    with service(recipe):
        yield mlflow.pyfunc.load_model(str(folder(recipe)))


def run(function, drawn, number: int) -> None:
    """Call the function with so many drawn examples, the same ones each time."""
    health = list(HealthCheck)
    bounds = settings(
        max_examples=number, deadline=None, database=None, suppress_health_check=health
    )
    seed(20261124)(bounds(given(drawn)(function)))()


def short(message: str) -> None:
    assert len(message) < 2000, f"{len(message)} characters: {message[:300]}"
    assert "x" * 100 not in message, message[:300]


def ours(error: BaseException) -> bool:
    """Whether the error left the model's own code (not MLflow before it)."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    own = ("/artifacts/models/", "model_code.py")
    return any(place in file for file in files for place in own)


def asked_in_python(recipe, model, given, params, counts) -> None:
    """Ask once and judge what comes back."""
    counts["cases"] += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = model.predict(given, params=params)
    except mlflow.MlflowException as error:
        if ours(error):
            assert error.get_http_status_code() == 400, error
            short(str(error))
        counts["refused by the recipe" if ours(error) else "refused by MLflow"] += 1
    except Exception as error:
        assert not ours(error), "".join(traceback.format_exception(error)[-3:])
        counts[f"MLflow's own {type(error).__name__}"] += 1
    else:
        check(recipe, given, params, answer)
        counts["answered"] += 1


@every_recipe
def test_hostile_input_in_Python(recipe, model, cases, counts):
    asked = recipe.json("request.json")
    if hostile.asks_a_table(asked):
        frame = hostile.first_frame(asked)
        given = hostile.tables(frame)
        given = given | given | hostile.containers(frame)
    else:
        given = hostile.altered(asked, hostile.VALUES)
    drawn = st.tuples(given, hostile.params(asked.get("params", {})))
    run(lambda d: asked_in_python(recipe, model, *d, counts), drawn, cases(300, 10_000))


@of_tables
def test_no_row_and_many_rows(recipe, model, cases, counts):
    asked = recipe.json("request.json")
    frame, params = hostile.first_frame(asked), asked.get("params")
    many = cases(1_000, 1_000_000 if recipe.name in MILLION else 1_000)
    for number in (0, many):
        times = -(-number // len(frame))
        rows = pd.concat([frame] * max(1, times), ignore_index=True).iloc[:number]
        asked_in_python(recipe, model, rows, params, counts)
        counts["rows"] += number


@contextmanager
def served(model):
    """The app that `mlflow models serve` runs, in a real server on a loopback port."""
    import uvicorn
    from mlflow.pyfunc.scoring_server import init

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(init(model), log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def refuse(constant: str):
    raise AssertionError(f"{constant} is not JSON")


def post(port: int, body: bytes | str, content_type: str | None = "application/json"):
    """Return the status and the text of the server's answer."""
    server = HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {} if content_type is None else {"Content-Type": content_type}
    server.request("POST", "/invocations", body, headers)
    response = server.getresponse()
    status, text = response.status, response.read().decode()
    server.close()
    return status, text


@every_recipe
def test_hostile_requests_over_REST(recipe, model, cases, counts):
    asked = recipe.json("request.json")
    with served(model) as port:

        def case(drawn) -> None:
            body, content_type = drawn
            counts["cases"] += 1
            status, text = post(port, body, content_type)
            if status == 200:
                answer = json.loads(text, parse_constant=refuse)
                answer = answer.get("predictions", answer)  # an agent's stands alone
                given = json.loads(body)
                check(recipe, given, given.get("params"), answer)
                counts["answered"] += 1
                return
            trace = ""
            try:
                said = json.loads(text, parse_constant=refuse)
                trace = said.get("stack_trace") or ""
            except ValueError:
                said = {"message": text}
            code = {"model_code.py", "code_model"}
            assert not any(name in trace for name in code), trace[-2000:]
            if status == 400 and not trace:
                counts["refused, status 400"] += 1
            else:
                traced = " with a stack trace" if trace else ""
                counts[f"MLflow's own {status}{traced}"] += 1

        run(case, hostile.bodies(asked), cases(300, 2_000))
        status, text = post(port, json.dumps(asked))  # it lives, and answers as ever
        assert status == 200
        answer = json.loads(text)
        check(recipe, asked, asked.get("params"), answer.get("predictions", answer))


def test_the_oracle_sees_a_wrong_number():
    frame = hostile.first_frame({"dataframe_records": [{"diameter": 2.0}]})
    circle = next(recipe for recipe in discover() if recipe.name == "circle_area")
    check(circle, frame, None, [{"area": math.pi}])
    with pytest.raises(AssertionError):
        check(circle, frame, None, [{"area": 4 * math.pi}])
