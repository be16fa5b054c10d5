"""Compute what a parcel costs from its zone and weight."""

import mlflow
import pandas as pd


class ShippingCost(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        rates = pd.read_csv(context.artifacts["rates"])
        self.per_kg = dict(zip(rates["zone"], rates["per_kg"], strict=True))

    def predict(self, context, model_input: pd.DataFrame, params=None):
        costs = [
            self.cost(row, zone, kg)
            for row, zone, kg in model_input[["zone", "kg"]].itertuples()
        ]
        return pd.DataFrame({"cost": costs}, index=model_input.index)

    def cost(self, row, zone, kg):
        if not isinstance(zone, str) or zone not in self.per_kg:
            refuse(f"column 'zone', row {row}: no rate for {zone!r:.80}")
        if type(kg) not in (int, float) or not 0 < kg < 1e4:
            refuse(f"column 'kg', row {row}: {kg!r:.80} is not a weight")
        return self.per_kg[zone] * kg


def refuse(message):
    raise mlflow.MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(ShippingCost())
