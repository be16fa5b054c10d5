"""Hostile input at every recipe's logged model, in Python and over MLflow's own server.

Allowed is the right answer, or one short error of ours: MlflowException, status 400. What MLflow
does by itself before the model is asked, or instead, is counted apart. `make torture` runs many
more cases than `make test` and leaves the counts in build/torture.json.
"""

import json
import math
import socket
import threading
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection

import mlflow
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from shared.recipes import ROOT, discover
from tests.torture import hostile
from tests.torture.oracles import check, service

pytestmark = [pytest.mark.xdist_group("house"), pytest.mark.filterwarnings("ignore")]
every_recipe = pytest.mark.parametrize("recipe", discover(), ids=lambda recipe: recipe.name)
COUNTS: dict[str, Counter] = {}


@pytest.fixture(scope="module")
def tally(request):
    """Counts of what came of the cases, by recipe and way; written out at the end."""
    yield COUNTS
    path = ROOT / "build" / "torture.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(COUNTS, indent=2) + "\n")


@pytest.fixture
def model(recipe, logged):
    with service(recipe):
        yield mlflow.pyfunc.load_model(str(logged.folder(recipe)))


def cases(request, way: str) -> int:
    return request.config.getoption("--cases") or {"python": 300, "rest": 300}[way]


def run(function, drawn, number: int) -> None:
    """Call the function with so many drawn examples, the same ones each time."""
    health = list(HealthCheck)
    bounds = settings(
        max_examples=number, deadline=None, database=None, suppress_health_check=health
    )
    seed(20261124)(bounds(given(drawn)(function)))()


def short(message: str) -> None:
    assert len(message) < 2000, f"a message of {len(message)} characters: {message[:300]}"
    assert "x" * 100 not in message, message[:300]


def ours(error: BaseException) -> bool:
    """Whether the error left the model's own code (not MLflow before it)."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any("/artifacts/models/" in file or file.endswith("model_code.py") for file in files)


@every_recipe
def test_python(recipe, model, request, tally):
    asked = recipe.json("request.json")
    frame = hostile.first_frame(asked)
    known = asked.get("params", {})
    counts = tally.setdefault(f"{recipe.name} python", Counter())

    def case(drawn) -> None:
        given, params = drawn
        counts["cases"] += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = model.predict(given, params=params)
        except mlflow.MlflowException as error:
            if ours(error):
                assert error.get_http_status_code() == 400, error
                short(str(error))
            counts["refused" if ours(error) else "refused by MLflow"] += 1
        except Exception as error:
            assert not ours(error), "".join(traceback.format_exception(error)[-3:])
            counts[f"MLflow's own {type(error).__name__}"] += 1
        else:
            check(recipe, given, params, answer)
            counts["answered"] += 1

    tables = hostile.tables(frame) | hostile.tables(frame) | hostile.containers(frame)
    run(case, st.tuples(tables, hostile.params(known)), cases(request, "python"))


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


@every_recipe
def test_rest(recipe, model, request, tally):
    asked = recipe.json("request.json")
    counts = tally.setdefault(f"{recipe.name} rest", Counter())
    with served(model) as port:

        def case(drawn) -> None:
            body, content_type = drawn
            counts["cases"] += 1
            server = HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {} if content_type is None else {"Content-Type": content_type}
            server.request("POST", "/invocations", body, headers)
            response = server.getresponse()
            status, text = response.status, response.read().decode()
            server.close()
            if status == 200:
                answer = json.loads(text, parse_constant=refuse)["predictions"]
                check(recipe, json.loads(body), None, answer)
                counts["answered"] += 1
                return
            trace = ""
            try:
                said = json.loads(text, parse_constant=refuse)
                trace = said.get("stack_trace") or ""
            except ValueError:
                said = {"message": text}
            assert "model_code.py" not in trace and "code_model" not in trace, trace[-2000:]
            if status == 400 and not trace:
                counts["refused"] += 1
            else:
                counts[f"MLflow's own {status}{' with a stack trace' if trace else ''}"] += 1

        run(case, hostile.bodies(asked), cases(request, "rest"))
        server = HTTPConnection("127.0.0.1", port, timeout=60)
        server.request("GET", "/ping")
        assert server.getresponse().status == 200
        server.close()
        known = json.dumps(asked)
        server.request("POST", "/invocations", known, {"Content-Type": "application/json"})
        check(recipe, asked, None, json.loads(server.getresponse().read())["predictions"])
        server.close()


def test_the_oracle_sees_a_wrong_number():
    frame = hostile.first_frame({"dataframe_records": [{"diameter": 2.0}]})
    circle = next(recipe for recipe in discover() if recipe.name == "circle_area")
    check(circle, frame, None, [{"area": math.pi}])
    with pytest.raises(AssertionError):
        check(circle, frame, None, [{"area": 4 * math.pi}])
