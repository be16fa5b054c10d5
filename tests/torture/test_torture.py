"""Hostile input and crowds at every recipe's logged model, over MLflow's own server.

Allowed is the right answer, or one short error of ours: MlflowException, status 400.
What MLflow does by itself before the model is asked, or instead, is no failure.
`make torture` runs many more cases than these files alone do.
"""

import base64
import json
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from shared.recipes import discover

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from benchmarks.pictures import picture_file
from tests.conftest import siblings
from tests.torture import hostile
from tests.torture.oracles import check

pytestmark = pytest.mark.filterwarnings("ignore")
RECIPES = discover()
TABLES = [r for r in RECIPES if hostile.asks_a_table(r.json("request.json"))]
# graph_agent answers by conversation: its own tests have several workers.
CROWDED = [recipe for recipe in RECIPES if recipe.name != "graph_agent"]
# The others get 1,000 rows.
MILLION = ("circle_area", "clv_composite", "pc_causal_discovery", "pc_fast")
CLIENTS = 32
(LABELS,) = siblings("label_reader", "labels")


def of(recipes):
    return pytest.mark.parametrize("recipe", recipes, ids=lambda recipe: recipe.name)


def run(function, drawn, number: int) -> None:
    """Call the function with so many drawn examples, the same ones each time."""
    health = list(HealthCheck)
    bounds = settings(
        max_examples=number, deadline=None, database=None, suppress_health_check=health
    )
    seed(0)(bounds(given(drawn)(function)))()


def ours(error: BaseException) -> bool:
    """Whether the error left the model's own code (not MLflow before it)."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    own = ("/artifacts/models/", "model_code.py")
    return any(place in file for file in files for place in own)


def ask_in_python(recipe, model, given, params) -> None:
    """Ask once and judge what comes back."""
    try:
        answer = model.predict(given, params=params)
    except mlflow.MlflowException as error:
        if ours(error):
            assert error.get_http_status_code() == 400, error
            message = str(error)
            assert len(message) < 2000 and "x" * 100 not in message, message[:300]
    except Exception as error:
        assert not ours(error), "".join(traceback.format_exception(error)[-3:])
    else:
        check(recipe, given, params, answer)


@of(RECIPES)
def test_hostile_input_in_Python(recipe, model, cases):
    asked = recipe.json("request.json")
    if hostile.asks_a_table(asked):
        frame = hostile.first_frame(asked)
        given = hostile.tables(frame)
        given = given | given | hostile.containers(frame)
    else:
        given = hostile.altered(asked, hostile.VALUES)
    drawn = st.tuples(given, hostile.params(asked.get("params", {})))
    run(lambda d: ask_in_python(recipe, model, *d), drawn, cases(300, 10_000))


@of(TABLES)
def test_no_row_and_many_rows(recipe, model, cases):
    asked = recipe.json("request.json")
    frame, params = hostile.first_frame(asked), asked.get("params")
    many = cases(1_000, 1_000_000 if recipe.name in MILLION else 1_000)
    for number in (0, many):
        times = -(-number // len(frame))
        rows = pd.concat([frame] * max(1, times), ignore_index=True).iloc[:number]
        ask_in_python(recipe, model, rows, params)


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


def post(port: int, body: bytes | str) -> tuple[int, str]:
    """Return the status and the text of the server's answer."""
    response = requests.post(
        f"http://127.0.0.1:{port}/invocations",
        data=body,
        headers={"Content-Type": "application/json"},
        timeout=120,
    )
    return response.status_code, response.content.decode()


def answer_of(text: str):
    """Return the predictions, or an agent's answer, which stands alone."""
    answer = json.loads(text, parse_constant=refuse)
    return answer.get("predictions", answer)


@of(RECIPES)
def test_hostile_requests_over_REST(recipe, model, cases):
    asked = recipe.json("request.json")
    with served(model) as port:

        def case(body: bytes) -> None:
            status, text = post(port, body)
            if status == 200:
                given = json.loads(body)
                check(recipe, given, given.get("params"), answer_of(text))
                return
            end = text[-2000:]
            assert "model_code.py" not in text and "code_model" not in text, end

        run(case, hostile.bodies(asked), cases(300, 2_000))
        status, text = post(port, json.dumps(asked))  # it lives, and answers as ever
        assert status == 200
        check(recipe, asked, asked.get("params"), answer_of(text))


def different_request(recipe, at: int) -> str:
    """Return a request whose answer differs from that of any other number."""
    asked = recipe.json("request.json")
    if not hostile.asks_a_table(asked):
        question = {"role": "user", "content": f"How do I sort {at} names?"}
        return json.dumps({"input": [question]})
    frame = hostile.first_frame(asked)
    if "image" in frame:
        picture = picture_file(different_picture(recipe, frame["image"].iloc[0], at))
        rows = pd.DataFrame({"image": [base64.b64encode(picture).decode()]})
    elif "text" in frame:
        rows = pd.DataFrame({"text": [f"The lamp for ${at + 1} is fine."]})
    elif "diameter" in frame:
        rows = pd.DataFrame({"diameter": [at / 7]})
    elif "first_order_value" in frame:
        rows = frame.tail(1).assign(first_order_value=1 + at / 7)
    else:  # columns are named in the answer
        rows = frame.iloc[:, :3].add_suffix(f" {at}")
    cells = rows.astype(object).where(rows.notna(), None)
    return json.dumps({"dataframe_split": cells.to_dict("split", index=False)})


def different_picture(recipe, file: bytes, at: int) -> np.ndarray:
    """Return a label with a code of its own, or another part of the picture."""
    if recipe.name == "label_reader":
        (label,) = LABELS.make_labels(at, 1, ["DejaVuSans"])
        return label.picture
    picture: Any = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    top, left = divmod(at, 40)
    return picture[top : top - 40, left : left - 40]


@of(CROWDED)
def test_many_clients(recipe, model, cases):
    """Each client gets its own answer: the one that it gets when it is alone."""
    bodies = [different_request(recipe, at) for at in range(CLIENTS * cases(4, 48))]

    def ask(body: str):
        status, text = post(port, body)
        assert status == 200, text[:500]
        answer = answer_of(text)
        return answer if isinstance(answer, list) else answer["custom_outputs"]

    with served(model) as port, ThreadPoolExecutor(CLIENTS) as pool:
        crowded = list(pool.map(ask, bodies))
        alone = [ask(body) for body in bodies]
    swapped = [
        (got, want) for got, want in zip(crowded, alone, strict=True) if got != want
    ]
    assert not swapped, swapped[0]
    different = len({json.dumps(answer) for answer in alone})
    assert different > 0.95 * len(alone), "or a swapped answer would not be seen"


@pytest.mark.parametrize("area", [3.14, float("nan")])
def test_the_oracle_sees_a_wrong_number(area):
    circle = next(recipe for recipe in RECIPES if recipe.name == "circle_area")
    frame = hostile.first_frame(circle.json("request.json"))
    answer = pd.DataFrame(circle.json("response.json")["predictions"])
    check(circle, frame, None, answer)
    with pytest.raises((AssertionError, ValueError)):
        check(circle, frame, None, answer.assign(area=area))
