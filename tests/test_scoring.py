"""What `make score-spark` adds to spark_udf, without a Spark: rows that fail alone, params."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ParamSchema, ParamSpec

from shared.spark import answers, checked


class Inverse:
    """A stand-in for a model: it refuses 0, has no answer to negative numbers, tells of calls."""

    def __init__(self):
        self.sizes = []

    def predict(self, rows, params=None):
        self.sizes.append(len(rows))
        if (rows["x"] == 0).any():
            raise mlflow.MlflowException(f"row {rows.index[rows['x'] == 0][0]}: 0 has no inverse")
        inverse = (1 / rows["x"]).where(rows["x"] > 0)
        return pd.DataFrame({"y": inverse, "by": (params or {}).get("by")})


@pytest.mark.parametrize("bad", [[], [0], [6], [2, 3], range(7)])
def test_each_row_keeps_its_place_and_bad_ones_their_reason(bad):
    x = np.arange(1.0, 8)
    x[list(bad)] = 0
    got = answers(Inverse(), pd.DataFrame({"x": x}), {"by": "me"})
    said = [{name: v for name, v in row.items() if pd.notna(v)} for row in got.to_dict("records")]
    assert said == [
        {"_error": "row 0: 0 has no inverse"} if v == 0 else {"y": 1 / v, "by": "me"} for v in x
    ]


def test_good_rows_are_asked_once_and_one_bad_row_costs_few_calls():
    model = Inverse()
    answers(model, pd.DataFrame({"x": np.ones(10_000)}), None)
    assert model.sizes == [10_000]
    model = Inverse()
    answers(model, pd.DataFrame({"x": [0.0, *np.ones(9_999)]}), None)
    assert len(model.sizes) < 40


def test_a_model_that_reads_its_rows_as_one_table_is_refused():
    class Sum:
        def predict(self, rows, params=None):
            return rows.sum().to_frame("y")

    with pytest.raises(ValueError, match="3 rows in, 1 out: group the rows"):
        answers(Sum(), pd.DataFrame({"x": [1, 2, 3]}), None)


def test_params_are_json_and_known_to_the_model():
    schema = ParamSchema([ParamSpec("alpha", "double", 0.05)])
    model, none = Model(signature=ModelSignature(params=schema)), Model()
    assert checked(model, '{"alpha": 0.01}') == {"alpha": 0.01}
    assert checked(model, "{}") is checked(model, "") is None
    for given, said in {
        '{"alpha"': "not JSON",
        "[1]": "an object",
        '{"alhpa": 1}': "no param alhpa; its params: alpha",
    }.items():
        with pytest.raises(LookupError, match=said):
            checked(model, given)
    with pytest.raises(LookupError, match="it has none"):
        checked(none, '{"alpha": 1}')
