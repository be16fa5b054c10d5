"""circle_area: known answers, one answer for every kind of input, and what is refused."""

import json
import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server import _parse_json_data

from recipes.circle_area import model_code
from recipes.circle_area.driver import HERE, SIGNATURE


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The model as it comes back from a store: MLflow's own input checks are in front of it."""
    folder = tmp_path_factory.mktemp("circle")
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=HERE / "model_code.py",
        signature=SIGNATURE,
        input_example=pd.DataFrame({"diameter": [2.0]}),
        pip_requirements=str(HERE / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(str(folder / "model"))


def over_rest(logged, body: str) -> pd.DataFrame:
    """Return what the model server's own parser and the model make of a request body."""
    parsed = _parse_json_data(body, logged.metadata, logged.metadata.get_input_schema())
    return logged.predict(parsed.data, params=parsed.params)


def test_known_answers(logged):
    """The well-known listing says diameter and computes with the radius: 12.57 for diameter 2."""
    frame = pd.DataFrame({"diameter": [2.0]})
    assert logged.predict(frame)["area"].tolist() == [math.pi]
    assert logged.predict(pd.DataFrame({"radius": [2.0]}))["area"].tolist() == [4 * math.pi]


@given(st.lists(st.floats(0, 1e150), min_size=1))
def test_area_is_the_formula(radii):
    expected = [math.pi * r * r for r in radii]
    np.testing.assert_allclose(model_code.area(np.array(radii)), expected, rtol=4e-16, atol=5e-324)


VALUES = [0.0, 1.0, 2.0, 10.5, 1e-3, 123456.789]


@pytest.mark.parametrize(
    "same",
    [
        {"diameter": VALUES},
        {"diameter": np.array(VALUES)},
        pd.Series(VALUES, name="diameter"),
        pd.DataFrame({"diameter": VALUES}),
        pd.DataFrame({"diameter": pd.array(VALUES, dtype="Float64")}),
        pd.DataFrame({"diameter": pd.Series(VALUES, dtype=object)}),
        pd.DataFrame({"radius": [value / 2 for value in VALUES]}),
        [{"diameter": value} for value in VALUES],
        json.dumps({"dataframe_split": {"columns": ["diameter"], "data": [[v] for v in VALUES]}}),
        json.dumps({"dataframe_records": [{"diameter": v} for v in VALUES]}),
        json.dumps({"inputs": {"diameter": VALUES}}),
        json.dumps({"instances": [{"diameter": v} for v in VALUES]}),
    ],
)
def test_every_kind_of_input_gives_the_same_answer(logged, same):
    answer = over_rest(logged, same) if isinstance(same, str) else logged.predict(same)
    expected = [math.pi * (value / 2) ** 2 for value in VALUES]
    np.testing.assert_array_max_ulp(answer["area"].to_numpy(), np.array(expected), maxulp=1)


def test_whole_numbers_and_small_floats_count_too(logged):
    for dtype in ("int64", "uint8", "float32", "Int64"):
        frame = pd.DataFrame({"diameter": pd.Series([2, 4], dtype=dtype)})
        assert logged.predict(frame)["area"].tolist() == [math.pi, 4 * math.pi]


def test_index_is_kept_and_no_rows_give_no_rows(logged):
    frame = pd.DataFrame({"diameter": [1.0, 2.0]}, index=["a", "b"])
    assert logged.predict(frame).index.tolist() == ["a", "b"]
    empty = logged.predict(pd.DataFrame({"diameter": []}))
    assert empty.columns.tolist() == ["area"] and empty.shape == (0, 1)


@pytest.mark.parametrize(
    "bad, reason",
    [
        (-3, "-3.0"),
        (float("inf"), "inf"),
        (True, "True"),
        (np.True_, "True"),
        ("3", "'3'"),
        ("x" * 1000, "'x{79}"),
        ([1.0], r"\[1.0\]"),
        (1e200, "1e.200"),
        (pd.Timestamp("2026-01-01"), "Timestamp.*"),
    ],
)
def test_bad_value_is_refused_with_its_row(logged, bad, reason):
    frame = pd.DataFrame({"diameter": pd.Series([1.0, bad], index=["good", "bad"], dtype=object)})
    with pytest.raises(
        mlflow.MlflowException, match=f"'diameter', row 'bad': {reason} is no"
    ) as caught:
        logged.predict(frame)
    assert caught.value.get_http_status_code() == 400


def test_bad_value_is_refused_over_rest_too(logged):
    for value, reason in (("true", "True is no"), ('"3"', "'3' is no")):
        body = f'{{"dataframe_split": {{"columns": ["diameter"], "data": [[1], [{value}]]}}}}'
        with pytest.raises(mlflow.MlflowException, match=f"row 1: {reason}"):
            over_rest(logged, body)


def test_a_whole_column_of_booleans_or_dates_is_refused(logged):
    for column in ([True, False], pd.to_datetime(["2026-01-01"]), pd.Categorical(["a"]), [1j]):
        with pytest.raises(mlflow.MlflowException, match="row 0: .* is no length"):
            logged.predict(pd.DataFrame({"diameter": column}))


@pytest.mark.parametrize("kind", [object, "float64", "Float64"])
def test_each_row_gives_one_of_the_two(logged, kind):
    frame = pd.DataFrame({"diameter": [2, None], "radius": [None, 2]}, dtype=kind)
    assert logged.predict(frame)["area"].tolist() == [math.pi, 4 * math.pi]
    for diameter, radius in ((None, None), (1, 1)):
        frame.loc[1] = [diameter, radius]
        with pytest.raises(mlflow.MlflowException, match="^row 1: give 'diameter' or 'radius'"):
            logged.predict(frame)


@pytest.mark.parametrize("neither", [[1, 2], pd.DataFrame({"diamter": [1.0]}), pd.DataFrame()])
def test_the_column_says_which_length_it_is(logged, neither):
    with pytest.raises(mlflow.MlflowException, match=r"each once; got \[\]"):
        logged.predict(neither)


def test_two_columns_of_one_name_are_refused():
    model = model_code.CircleArea()
    frame = pd.DataFrame([[1.0, 2.0]], columns=["radius", "radius"])
    with pytest.raises(mlflow.MlflowException, match="each once; got .'radius', 'radius'"):
        model.predict(None, frame)


def test_the_batch_way_checks_as_well(logged):
    """It skips the signature, not the checks."""
    model = logged.unwrap_python_model()
    assert model.predict(None, pd.DataFrame({"radius": [2.0]}))["area"].tolist() == [4 * math.pi]
    for bad in (-1.0, 1e154, "3"):
        with pytest.raises(mlflow.MlflowException, match="row 0"):
            model.predict(None, pd.DataFrame({"radius": [bad]}))
    assert model.predict(None, pd.DataFrame({"radius": [0.0, 1e153]}))["area"].max() < math.inf
