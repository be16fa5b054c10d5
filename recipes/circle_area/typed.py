"""Compute the area of circles from their diameter: metres give square metres.

The same model as `model_code.py`, typed by pydantic: the type of `predict`'s input is
the check, and MLflow makes the signature of it.
"""

import math

import mlflow
from pydantic import BaseModel, Field


class Circle(BaseModel, extra="forbid"):
    diameter: float = Field(strict=True, ge=0, le=10**9)  # strict: no true, no "3"


class CircleArea(mlflow.pyfunc.PythonModel):
    """Take circles; answer with the area of each."""

    def predict(self, model_input: list[Circle]) -> list[float]:
        return [math.pi * circle.diameter**2 / 4 for circle in model_input]


mlflow.models.set_model(CircleArea())
