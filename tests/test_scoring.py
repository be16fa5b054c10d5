"""What `make score-spark` adds to spark_udf, without a Spark: rows that fail alone, params."""

from shared.spark import answers, checked

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ParamSchema, ParamSpec


class Inverse:
    """A stand-in for a model: it refuses 0, has no answer to negative numbers, tells of calls."""

    def __init__(self):
        self.sizes = []

    def predict(self, rows, params=None):
        self.sizes.append(len(rows))
        if (rows["x"] == 0).any():
            raise mlflow.MlflowException(
                f"row {rows.index[rows['x'] == 0][0]}: 0 has no inverse"
            )
        inverse = (1 / rows["x"]).where(rows["x"] > 0)
        return pd.DataFrame({"y": inverse, "by": (params or {}).get("by")})


@pytest.mark.parametrize("bad", [[], [0], [6], [2, 3], range(7)])
def test_each_row_keeps_its_place_and_bad_ones_their_reason(bad):
    x = np.arange(1.0, 8)
    x[list(bad)] = 0
    got = answers(Inverse(), pd.DataFrame({"x": x}), {"by": "me"})
    said = [
        {name: v for name, v in row.items() if pd.notna(v)}
        for row in got.to_dict("records")
    ]
    assert said == [
        {"_error": "row 0: 0 has no inverse"} if v == 0 else {"y": 1 / v, "by": "me"}
        for v in x
    ]


@pytest.mark.parametrize("first, calls", [(1.0, 1), (0.0, 40)])
def test_good_rows_are_asked_once_and_one_bad_row_costs_few_calls(first, calls):
    model = Inverse()
    answers(model, pd.DataFrame({"x": [first, *np.ones(9_999)]}), None)
    assert len(model.sizes) <= calls


def test_a_table_has_one_answer_or_one_reason():
    got = answers(Inverse(), pd.DataFrame({"x": [1.0, 0.0]}), None, table=True)
    assert got.to_dict("list") == {"_error": ["row 1: 0 has no inverse"]}


def test_a_model_that_reads_its_rows_as_one_table_is_refused():
    class Sum:
        def predict(self, rows, params=None):
            return rows.sum().to_frame("y")

    with pytest.raises(ValueError, match="3 rows in, 1 out: group the rows"):
        answers(Sum(), pd.DataFrame({"x": [1, 2, 3]}), None)


@pytest.mark.parametrize(
    "given, said",
    [
        ('{"alpha"', "no object in JSON"),
        ("[1]", "no object in JSON"),
        ('{"alhpa": 1}', "no param alhpa; its params: alpha"),
    ],
)
def test_params_are_json_and_known_to_the_model(given, said):
    schema = ParamSchema([ParamSpec("alpha", "double", 0.05)])
    model = Model(signature=ModelSignature(params=schema))
    assert checked(model, '{"alpha": 0.01}') == {"alpha": 0.01}
    assert checked(model, "{}") is checked(model, "") is None
    with pytest.raises(LookupError, match=said):
        checked(model, given)
    with pytest.raises(LookupError, match="it has none"):
        checked(Model(), '{"alpha": 1}')
