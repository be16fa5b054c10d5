import mlflow
import pandas as pd


class Celsius(mlflow.pyfunc.PythonModel):
    def __init__(self, offset):
        self.offset = offset

    def predict(self, context, model_input: pd.DataFrame, params=None):
        answer = (model_input["fahrenheit"] - self.offset) / 1.8
        return pd.DataFrame({"celsius": answer})
