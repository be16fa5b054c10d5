"""Convert degrees Fahrenheit to Celsius."""

import mlflow
import pandas as pd

OFFSET = 32


class Celsius(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        answer = (numbers(model_input["fahrenheit"]) - OFFSET) / 1.8
        return pd.DataFrame({"celsius": answer}, index=model_input.index)


def numbers(column):
    for row, value in column.items():
        if type(value) not in (int, float) or abs(value) > 1e6 or value != value:
            raise mlflow.MlflowException.invalid_parameter_value(
                f"column '{column.name}', row {row}: {value!r:.80} is not a temperature"
            )
    return column.astype(float)


mlflow.models.set_model(Celsius())
