"""Score readings by their distance from the mean of the training week."""

import json
from pathlib import Path

import mlflow
import pandas as pd


class AnomalyScore(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        fitted = json.loads(Path(context.artifacts["fitted"]).read_text("utf-8"))
        self.mean, self.deviation = fitted["mean"], fitted["deviation"]

    def predict(self, context, model_input: pd.DataFrame, params=None):
        readings = numbers(model_input["sensor"])
        score = (readings - self.mean).abs() / self.deviation
        return pd.DataFrame({"score": score}, index=model_input.index)


def numbers(column):
    for row, value in column.items():
        if type(value) not in (int, float) or not -1e9 < value < 1e9:
            raise mlflow.MlflowException.invalid_parameter_value(
                f"column '{column.name}', row {row}: {value!r:.80} is not a reading"
            )
    return column.astype(float)


mlflow.models.set_model(AnomalyScore())
