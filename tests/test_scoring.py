"""What `make score-spark` adds to spark_udf, tried without Spark."""

from shared.recipes import CookbookError
from shared.spark import answer_rows, answer_table, read_params

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ParamSchema, ParamSpec


class Inverse:
    """A stand-in for a model: it refuses 0, and keeps the sizes of its calls."""

    def __init__(self):
        self.sizes = []

    def predict(self, rows, params=None):
        self.sizes.append(len(rows))
        zero = rows.index[rows["x"] == 0]
        if len(zero):
            raise mlflow.MlflowException(f"row {zero[0]}: 0 has no inverse")
        return pd.DataFrame({"y": 1 / rows["x"], "by": (params or {}).get("by")})


@pytest.mark.parametrize("bad_rows", [[], [0], [2, 3], range(7)])
def test_each_row_keeps_its_place_and_bad_ones_their_reason(bad_rows):
    x = np.arange(1.0, 8)
    x[list(bad_rows)] = 0
    answers = answer_rows(Inverse(), pd.DataFrame({"x": x}), {"by": "me"})
    records = [row.dropna().to_dict() for _, row in answers.iterrows()]
    failed = {"_error": "row 0: 0 has no inverse"}
    assert records == [failed if v == 0 else {"y": 1 / v, "by": "me"} for v in x]


def test_one_bad_row_costs_few_calls():
    x = np.ones(10_000)
    x[7_000] = 0
    model = Inverse()
    answers = answer_rows(model, pd.DataFrame({"x": x}), None)
    assert answers["_error"].notna().sum() == 1 and len(model.sizes) <= 40


def test_a_table_has_one_answer_or_one_reason():
    answers = answer_table(Inverse(), pd.DataFrame({"x": [1.0, 0.0]}), None)
    assert answers.to_dict("list") == {"_error": ["row 1: 0 has no inverse"]}


@pytest.mark.parametrize(
    "text, message",
    [('{"alpha"', "PARAMS: "), ('{"alhpa": 1}', "no param {'alhpa'}; the model's")],
)
def test_params_are_json_and_known_to_the_model(text, message):
    schema = ParamSchema([ParamSpec("alpha", "double", 0.05)])
    model = Model(signature=ModelSignature(params=schema))
    assert read_params(model, '{"alpha": 0.01}') == {"alpha": 0.01}
    assert read_params(model, "{}") is read_params(model, "") is None
    with pytest.raises(CookbookError, match=message):
        read_params(model, text)
    with pytest.raises(CookbookError, match="no param"):
        read_params(Model(), '{"alpha": 1}')
