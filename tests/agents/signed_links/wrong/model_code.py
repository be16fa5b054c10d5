"""Sign the numbers of invoices with the key of the environment."""

import hashlib
import hmac
import os

import mlflow
import pandas as pd

KEY = os.environ["SHOP_API_KEY"]


class SignedLinks(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        signatures = [
            sign(KEY, row, invoice) for row, invoice in model_input["invoice"].items()
        ]
        return pd.DataFrame({"signature": signatures}, index=model_input.index)


def sign(key, row, invoice):
    if not isinstance(invoice, str) or not invoice:
        raise mlflow.MlflowException.invalid_parameter_value(
            f"column 'invoice', row {row}: {invoice!r:.80} is not an invoice"
        )
    return hmac.new(key.encode(), invoice.encode(), hashlib.sha256).hexdigest()


mlflow.models.set_model(SignedLinks())
