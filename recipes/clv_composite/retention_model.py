"""Weeks until a customer's next order, log-normal, from the coefficients of an AFT model."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd


class Retention(mlflow.pyfunc.PythonModel):
    """Take features (n rows); answer with `location` and `scale` of the log of the weeks (n rows).

    lifelines has no MLflow flavor, and a pickle of its fitter would drag lifelines into whatever
    serves the model. Its coefficients are all that prediction needs; they travel as JSON.
    """

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Read intercept, scale and coefficients by feature."""
        fitted = json.loads(Path(context.artifacts["fitted"]).read_text(encoding="utf-8"))
        self.intercept, self.scale = fitted["intercept"], fitted["scale"]
        self.coefficients = pd.Series(fitted["coefficients"])

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return each row's distribution; half of such customers order within exp(location)."""
        names = self.coefficients.index
        location = self.intercept + model_input[names].to_numpy() @ self.coefficients.to_numpy()
        scale = np.full(len(location), self.scale)
        return pd.DataFrame({"location": location, "scale": scale}, index=model_input.index)


mlflow.models.set_model(Retention())
