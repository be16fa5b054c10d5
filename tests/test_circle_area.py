"""circle_area: known answers, the dtypes that count, and what is refused."""

import math

import mlflow
import pandas as pd
import pytest

from recipes.circle_area import model_code
from recipes.circle_area.driver import HERE, SIGNATURE
from tests.conftest import refusal


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the model as it comes back from a store, behind MLflow's own checks."""
    folder = f"{tmp_path_factory.mktemp('circle')}/model"
    mlflow.pyfunc.save_model(
        folder,
        python_model=HERE / "model_code.py",
        signature=SIGNATURE,
        input_example=pd.DataFrame({"diameter": [2.0]}),
        pip_requirements=str(HERE / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(folder)


def test_known_answers(model):
    """The well-known example computes with the radius: 12.57 for a diameter of 2."""
    labels = ["a", "b", "c"]
    table = pd.DataFrame({"diameter": [2.0, 0.0, 1e9]}, index=labels)
    areas = [math.pi, 0.0, math.pi * 1e18 / 4]
    expected = pd.DataFrame({"area": areas}, index=labels)
    pd.testing.assert_frame_equal(model.predict(table), expected, check_exact=True)
    assert model.predict(table.iloc[:0]).equals(expected.iloc[:0])


@pytest.mark.parametrize("dtype", ["int64", "float32", "Int64", "object"])
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
        (1e9 + 1, "1000000001.0"),
        (10**400, "1(0{79})"),
        (True, "True"),
        ("3", "'3'"),
    ],
)
def test_what_is_no_length_is_refused_with_its_row(model, value, shown):
    long = "x" * 1000  # of a label or a value, 80 characters are quoted
    table = pd.DataFrame({"diameter": [1.0, value]}, ["first", long], dtype=object)
    message = f"'diameter', row 'x{{79}}: ({shown}) is not a length; give a number"
    with refusal(message):
        model.unwrap_python_model().predict(table)


def test_a_shortest_length_keeps_a_quotient_finite(monkeypatch):
    """The line that the page shows for a formula that divides."""
    monkeypatch.setattr(model_code, "SHORTEST", 0.01)
    heights = pd.Series([1.0, 0.0], name="height")
    with pytest.raises(mlflow.MlflowException, match="row 1: 0.0 .* from 0.01 to"):
        model_code.check_lengths(heights)
