import json
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

sensor = pd.read_csv("readings.csv")["sensor"]
fitted = {"mean": sensor.mean(), "deviation": sensor.std()}
Path("fitted.json").write_text(json.dumps(fitted), "utf-8")

mlflow.pyfunc.save_model(
    "model",
    python_model="model_code.py",
    artifacts={"fitted": "fitted.json"},
    signature=ModelSignature(
        Schema([ColSpec(AnyType(), "sensor")]),
        Schema([ColSpec(DataType.double, "score")]),
    ),
    input_example=pd.DataFrame({"sensor": [20.0, 25.0, 19.5]}),
    pip_requirements=[f"mlflow=={mlflow.__version__}", f"pandas=={pd.__version__}"],
)
