"""Compute the monthly payment of a loan."""

import mlflow
import pandas as pd

RATE = 0.04 / 12  # a month


class LoanPayment(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        months = (params or {}).get("months", 120)
        if not 0 < months <= 600:
            refuse(f"param 'months': {months!r:.80} is not between 1 and 600")
        amount = amounts(model_input["amount"])
        payment = amount * RATE / (1 - (1 + RATE) ** -months)
        return pd.DataFrame({"payment": payment}, index=model_input.index)


def amounts(column):
    for row, value in column.items():
        if type(value) not in (int, float) or not 0 < value < 1e9:
            refuse(f"column 'amount', row {row}: {value!r:.80} is not an amount")
    return column.astype(float)


def refuse(message):
    raise mlflow.MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(LoanPayment())
