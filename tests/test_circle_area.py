"""circle_area: known answers, kinds of input, and what is refused."""

import json
import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import _parse_json_data

from recipes.circle_area import model_code
from recipes.circle_area.driver import HERE, SIGNATURE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The model as it comes back from a store, behind MLflow's own checks."""
    folder = f"{tmp_path_factory.mktemp('circle')}/model"
    mlflow.pyfunc.save_model(
        folder,
        python_model=HERE / "model_code.py",
        signature=SIGNATURE,
        input_example=pd.DataFrame({"diameter": [2.0]}),
        pip_requirements=str(HERE / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(folder)


def predict_from_json(model, body: dict) -> pd.DataFrame:
    """Return what the model server's parser and the model make of a request body."""
    parsed = _parse_json_data(json.dumps(body), model.metadata, SIGNATURE.inputs)
    return model.predict(parsed.data)


def test_known_answers(model):
    """The well-known example computes with the radius: 12.57 for a diameter of 2."""
    table = pd.DataFrame({"diameter": [2.0, 0.0]}, index=["a", "b"])
    expected = pd.DataFrame({"area": [math.pi, 0.0]}, index=["a", "b"])
    pd.testing.assert_frame_equal(model.predict(table), expected, check_exact=True)
    assert model.predict(table.iloc[:0]).equals(expected.iloc[:0])


VALUES = [0.0, 1.0, 2.0, 10.5, 1e-3, 123456.789, 1e9]
RECORDS = [{"diameter": value} for value in VALUES]
SPLIT = {"columns": ["diameter"], "data": [[value] for value in VALUES]}


@pytest.mark.parametrize(
    "given",
    [
        {"diameter": VALUES},
        {"diameter": np.array(VALUES)},
        pd.Series(VALUES, name="diameter"),
        pd.DataFrame({"diameter": VALUES}, dtype=float),
        pd.DataFrame({"diameter": VALUES}, dtype=object),
        pd.DataFrame({"diameter": VALUES}, dtype="Float64"),
        RECORDS,
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_kind_of_input_gives_the_same_answer(model, given):
    areas = model.predict(given)["area"]
    assert areas.tolist() == [math.pi * value**2 / 4 for value in VALUES]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"inputs": {"diameter": VALUES}},
    ],
    ids=lambda body: next(iter(body)),
)
def test_every_form_of_request_gives_the_same_answer(model, body):
    areas = predict_from_json(model, body)["area"]
    assert areas.tolist() == [math.pi * value**2 / 4 for value in VALUES]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", "Int64"])
def test_numbers_of_every_dtype_count(model, dtype):
    table = pd.DataFrame({"diameter": [2, 4]}, dtype=dtype)
    assert model.predict(table)["area"].tolist() == [math.pi, 4 * math.pi]


@pytest.mark.parametrize(
    "value, shown",
    [
        (-3, "-3"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (None, "None|nan"),
        (1e200, "1e.200"),
        (1e9 + 1, "1000000001.0"),
        (10**400, "1(0{79})"),
        (True, "True"),
        ("3", "'3'"),
        ("x" * 1000, "'x{79}"),
        ([1.0], r"\[1.0\]"),
        (pd.Timestamp(0), "Timestamp.*"),
        (1j, "1j"),
    ],
)
def test_what_is_no_length_is_refused_with_its_row(model, value, shown):
    long = "x" * 1000  # of a label or a value, 80 characters are quoted
    table = pd.DataFrame({"diameter": [1.0, value]}, ["first", long], dtype=object)
    message = f"'diameter', row 'x{{79}}: ({shown}) is not a length; give a number"
    with pytest.raises(mlflow.MlflowException, match=message) as caught:
        model.unwrap_python_model().predict(table)
    assert caught.value.get_http_status_code() == 400
    with pytest.raises(mlflow.MlflowException):  # behind MLflow's own checks too
        model.predict(table)


@pytest.mark.parametrize("value", [True, "3", None, -1, 1e200])
def test_a_bad_value_over_rest_is_refused_with_its_row(model, value):
    body = {"dataframe_split": {"columns": ["diameter"], "data": [[1], [value]]}}
    with pytest.raises(mlflow.MlflowException, match="row 1: .* is not a length"):
        predict_from_json(model, body)


def test_a_missing_column_is_refused(model):
    with pytest.raises(mlflow.MlflowException, match="diameter"):
        model.predict(pd.DataFrame({"diamter": [1.0]}))
    with pytest.raises(mlflow.MlflowException, match="diameter"):
        model.predict(pd.DataFrame([[1.0, 2.0]], columns=["diameter", "diameter"]))


def test_a_shortest_length_keeps_a_quotient_finite(monkeypatch):
    """The line that the page shows for a formula that divides."""
    monkeypatch.setattr(model_code, "SHORTEST", 0.01)
    heights = pd.Series([1.0, 0.0], name="height")
    with pytest.raises(mlflow.MlflowException, match="row 1: 0.0 .* from 0.01 to"):
        model_code.check_lengths(heights)
