"""How `make score-spark` answers rows, tables and params, without Spark."""

from types import SimpleNamespace

from shared.recipes import CookbookError
from shared.spark import (
    answer_questions,
    answer_rows,
    answer_table,
    is_agent,
    read_columns,
    read_params,
)

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema


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
    [
        ('{"alpha"', "PARAMS: "),
        ('{"alhpa": 1}', "no param {'alhpa'}; the model's"),
        ("3", "PARAMS=3: give a JSON object"),
    ],
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


CITED = {"type": "output_text", "text": "4 km", "annotations": [{"title": "Map"}]}
MESSAGE = {"type": "message", "content": [CITED]}
CALL = {"type": "function_call", "name": "measure", "arguments": "{}"}
DOWN = {"message": "service down"}


@pytest.mark.parametrize(
    "reply, expected",
    [
        ({"output": [MESSAGE]}, {"answer": "4 km", "cited": ["Map"]}),
        ({"output": [CALL, MESSAGE]}, {"answer": "4 km", "cited": ["Map"]}),
        (
            {"output": [MESSAGE], "error": DOWN},
            {"answer": "4 km", "cited": ["Map"], "_error": "service down"},
        ),
        ({"output": [], "error": DOWN}, {"_error": "service down"}),
        ({"output": [], "status": "failed"}, {"_error": "no text, status failed"}),
        ({"output": [CALL]}, {"_error": "no text, status None"}),
    ],
)
def test_an_agents_answer_or_its_own_reason(reply, expected):
    agent = SimpleNamespace(predict=lambda request: reply)
    ((_, row),) = answer_questions(agent, pd.Series(["How far?"])).iterrows()
    assert row[row.notna()].to_dict() == expected


@pytest.mark.parametrize(
    "task, expected",
    [("agent/v1/responses", True), ("agent/v2/chat", False), (None, False)],
)
def test_an_agent_is_one_that_answers_responses(task, expected):
    assert is_agent(Model(metadata={"task": task})) is expected


A_TO_B = ModelSignature(
    Schema([ColSpec("double", "a")]), Schema([ColSpec("long", "b")])
)


@pytest.mark.parametrize(
    "signature, expected",
    [(A_TO_B, {"a"}), (ModelSignature(outputs=A_TO_B.outputs), {"c"})],
)
def test_a_model_reads_its_inputs_though_they_name_the_groups(signature, expected):
    columns = read_columns(Model(signature=signature), ["a", "c"], "a")
    assert {*columns} - {"_corrupt_record"} == expected
