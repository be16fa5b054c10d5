"""Routes of one's own around loaded models, beside MLflow's server: uvicorn runs it.

ROUTE_MODELS names a folder with the models circle_area and canny_edge_qc.
"""

import os
from typing import Any

import mlflow
import pandas as pd
from fastapi import FastAPI, HTTPException, Request

FOLDER = os.environ["ROUTE_MODELS"]
circles = mlflow.pyfunc.load_model(f"{FOLDER}/circle_area")
parts = mlflow.pyfunc.load_model(f"{FOLDER}/canny_edge_qc")
app = FastAPI()


def answer(model: Any, table: pd.DataFrame) -> pd.DataFrame:
    """Return the model's answer; an error has the status that MLflow gives it."""
    try:
        return model.predict(table)
    except mlflow.MlflowException as error:
        raise HTTPException(error.get_http_status_code(), error.message) from None


@app.get("/ping")
def ping() -> str:
    return "ok"


@app.post("/areas")
def areas(diameters: list[float]) -> list[float]:
    return answer(circles, pd.DataFrame({"diameter": diameters}))["area"].tolist()


@app.post("/verdict")
async def verdict(request: Request) -> dict[str, Any]:
    """Take a picture as it is, without base64."""
    table = pd.DataFrame({"image": [await request.body()]}, dtype=object)
    bare = parts.unwrap_python_model()
    return dict(bare.predict(None, table).iloc[0].to_dict())
