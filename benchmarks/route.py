"""A route of one's own around circle_area, beside MLflow's server: uvicorn runs it.

MODEL names the folder of the logged model.
"""

import os

import mlflow
import pandas as pd
from fastapi import FastAPI, HTTPException

model = mlflow.pyfunc.load_model(os.environ["MODEL"])
app = FastAPI()


@app.post("/areas")
def areas(diameters: list[float]) -> list[float]:
    """Return the areas; an error has the status that MLflow gives it."""
    try:
        answer = model.predict(pd.DataFrame({"diameter": diameters}))
    except mlflow.MlflowException as error:
        raise HTTPException(error.get_http_status_code(), error.message) from None
    return answer["area"].tolist()
