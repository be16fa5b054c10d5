"""circle_area: known answers, one answer for every kind of input, and what is refused."""

import json
import math

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import _parse_json_data as parse

from recipes.circle_area.driver import HERE, SIGNATURE


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The model as it comes back from a store: MLflow's own input checks are in front of it."""
    folder = f"{tmp_path_factory.mktemp('circle')}/model"
    mlflow.pyfunc.save_model(
        folder,
        python_model=HERE / "model_code.py",
        signature=SIGNATURE,
        input_example=pd.DataFrame({"diameter": [2.0]}),
        pip_requirements=str(HERE / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(folder)


def over_rest(logged, body: dict) -> pd.DataFrame:
    """Return what the model server's own parser and the model make of a request body."""
    return logged.predict(
        parse(json.dumps(body), logged.metadata, SIGNATURE.inputs).data
    )


def test_known_answers(logged):
    """The well-known listing says diameter and computes with the radius: 12.57 for diameter 2."""
    for column, area in (("diameter", math.pi), ("radius", 4 * math.pi)):
        frame = pd.DataFrame({column: [2.0, 0.0]}, index=["a", "b"])
        expected = pd.DataFrame({"area": [area, 0.0]}, index=["a", "b"])
        pd.testing.assert_frame_equal(logged.predict(frame), expected, check_exact=True)
    assert logged.predict(frame.iloc[:0]).equals(expected.iloc[:0])


VALUES = [0.0, 1.0, 2.0, 10.5, 1e-3, 123456.789, 1e150]
RECORDS = [{"diameter": value} for value in VALUES]
SAME = [
    *(
        {"diameter": VALUES},
        {"diameter": np.array(VALUES)},
        pd.Series(VALUES, name="diameter"),
    ),
    *(
        pd.DataFrame({"diameter": VALUES}, dtype=dtype)
        for dtype in (float, object, "Float64")
    ),
    *(pd.DataFrame({"radius": np.array(VALUES) / 2}), pd.DataFrame(RECORDS), RECORDS),
]
BODIES = [
    {
        "dataframe_split": {
            "columns": ["diameter"],
            "data": [[value] for value in VALUES],
        }
    },
    *(
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"inputs": {"diameter": VALUES}},
    ),
]


def test_every_kind_of_input_gives_the_same_answer(logged):
    answers = [
        *map(logged.predict, SAME),
        *(over_rest(logged, body) for body in BODIES),
    ]
    expected = np.array([math.pi * (value / 2) ** 2 for value in VALUES])
    for answer in answers:
        np.testing.assert_array_max_ulp(answer["area"].to_numpy(), expected, maxulp=1)
    for dtype in ("int64", "uint8", "float32", "Int64"):
        frame = pd.DataFrame({"diameter": [2, 4]}, dtype=dtype)
        assert logged.predict(frame)["area"].tolist() == [math.pi, 4 * math.pi]


BAD = [
    (-3, "-3.0"),
    (math.inf, "inf"),
    (1e200, "1e.200"),
    (True, "True"),
    (np.True_, "True"),
]
BAD += [
    ("3", "'3'"),
    ("x" * 1000, "'x{79}"),
    ([1.0], r"\[1.0\]"),
    (pd.Timestamp(0), "Timesta.*"),
]


@pytest.mark.parametrize("bad, shown", BAD)
def test_bad_value_is_refused_with_its_row(logged, bad, shown):
    frame = pd.DataFrame(
        {"diameter": pd.Series([1.0, bad], ["good", "bad"], dtype=object)}
    )
    refused = (
        f"'diameter', row 'bad': {shown} is no length; give a number from 0 to 1e.153"
    )
    with pytest.raises(mlflow.MlflowException, match=refused) as caught:
        logged.predict(frame)
    assert caught.value.get_http_status_code() == 400
    if isinstance(bad, (bool, str, list)):
        body = {"dataframe_split": {"columns": ["diameter"], "data": [[1], [bad]]}}
        with pytest.raises(
            mlflow.MlflowException, match=f"row 1: {shown} is no length"
        ):
            over_rest(logged, body)


def test_a_whole_column_of_another_kind_is_refused(logged):
    for column in (
        [True, False],
        pd.to_datetime(["2026-01-01"]),
        pd.Categorical(["a"]),
        [1j],
    ):
        with pytest.raises(mlflow.MlflowException, match="row 0: .* is no length"):
            logged.predict(pd.DataFrame({"diameter": column}))


@pytest.mark.parametrize("dtype", [object, "float64", "Float64"])
def test_each_row_gives_one_of_the_two(logged, dtype):
    frame = pd.DataFrame({"diameter": [2, None], "radius": [None, 2]}, dtype=dtype)
    assert logged.predict(frame)["area"].tolist() == [math.pi, 4 * math.pi]
    for both in ((None, None), (1, 1)):
        frame.loc[1] = both
        with pytest.raises(
            mlflow.MlflowException, match="^row 1: give 'diameter' or 'radius'"
        ):
            logged.predict(frame)


def test_the_batch_way_skips_the_signature_not_the_checks(logged):
    model = logged.unwrap_python_model()
    for dtype in (float, object):  # MLflow's check makes numbers of objects
        good = pd.DataFrame({"radius": [0.0, 2.0, 1e153]}, dtype=dtype)
        assert model.predict(None, good)["area"].tolist() == [
            0,
            4 * math.pi,
            math.pi * 1e306,
        ]
    for bad in (-1.0, 1.1e153, "3"):
        with pytest.raises(mlflow.MlflowException, match="row 0"):
            model.predict(None, pd.DataFrame({"radius": [bad]}))
    with pytest.raises(
        mlflow.MlflowException, match=r"each once; got \['radius', 'radius'\]"
    ):
        model.predict(None, pd.DataFrame([[1.0, 2.0]], columns=["radius", "radius"]))
    for neither in ([[1, 2]], pd.DataFrame({"diamter": [1.0]}), pd.DataFrame()):
        with pytest.raises(mlflow.MlflowException, match=r"each once; got \[\]"):
            logged.predict(neither)
