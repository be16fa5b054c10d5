"""A fitted part of the composite, from parameters in JSON: a regression, or the textbook model."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from scipy.special import expit, hyp2f1


def textbook(c: pd.DataFrame, horizon: float, **of: float) -> pd.DataFrame:
    """Return the forecast of BG/NBD and Gamma-Gamma (Fader, Hardie & Lee 2005), n rows."""
    r, alpha, a, b, p, q, v = (of[name] for name in ("r", "alpha", *"abpqv"))
    n, z = c["frequency"], horizon / (alpha + c["T"] + horizon)
    # Euler's transformation of the paper's 2F1: it doesn't overflow for frequent buyers.
    late = (1 - z) ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + n - 1, z)
    odds = (r + n) * np.log((alpha + c["T"]) / (alpha + c["recency"]))
    alive = expit(np.log((b + n.clip(1) - 1) / a) - odds).where(n > 0, 1)
    orders = alive * (a + b + n - 1) / (a - 1) * (1 - late)
    value = p * (v + n * c["monetary_value"]) / (p * n + q - 1)
    return pd.DataFrame({"expected_purchases": orders, "clv": orders * value})


class Component(mlflow.pyfunc.PythonModel):
    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        self.fitted = json.loads(
            Path(context.artifacts["fitted"]).read_text(encoding="utf-8")
        )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return what was fitted and its constants: exp(intercept + features @ coefficients)."""
        if "alpha" in self.fitted:
            return textbook(model_input, params["horizon_weeks"], **self.fitted)
        slopes = pd.Series(self.fitted["coefficients"])
        value = np.exp(self.fitted["intercept"] + model_input[slopes.index] @ slopes)
        return pd.DataFrame({self.fitted["answers"]: value, **self.fitted["constants"]})


mlflow.models.set_model(Component())
