"""The model around a model that `make score-spark` hands to `mlflow.pyfunc.spark_udf`.

Alone, `spark_udf` ends the job at the first row that the model refuses, and where a column of the
answer is null in some rows it writes the text "None", or False. The guard answers one JSON text for
each row: the row's answer, or `{"_error": reason}`.
"""

from collections.abc import Hashable
from typing import Any

import mlflow
import pandas as pd
from mlflow.utils.proto_json_utils import NumpyEncoder

ENCODER = NumpyEncoder()


def answers(model: Any, rows: pd.DataFrame, params: Any) -> list[dict[Hashable, Any]]:
    """Return a record for each row; what fails is halved until the rows at fault stand alone."""
    try:
        answer = pd.DataFrame(model.predict(rows, params=params))
    except Exception as error:  # whatever the model says of this input
        if len(rows) == 1:
            return [{"_error": str(error)}]
        half = len(rows) // 2
        parts = rows[:half], rows[half:].reset_index(drop=True)
        return [record for part in parts for record in answers(model, part, params)]
    if len(answer) != len(rows):
        raise ValueError(f"{len(rows)} rows in, {len(answer)} out: group the rows (GROUP_BY)")
    known = answer.astype(object).where(answer.notna(), None)  # JSON has no NaN
    return known.to_dict("records")


class Guard(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.model = mlflow.pyfunc.load_model(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        records = answers(self.model, model_input.reset_index(drop=True), params or None)
        return [ENCODER.encode(record) for record in records]


mlflow.models.set_model(Guard())
