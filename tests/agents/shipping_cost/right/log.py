import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

mlflow.pyfunc.save_model(
    "model",
    python_model="model_code.py",
    artifacts={"rates": "rates.csv"},
    signature=ModelSignature(
        Schema([ColSpec(AnyType(), "zone"), ColSpec(AnyType(), "kg")]),
        Schema([ColSpec(DataType.double, "cost")]),
    ),
    input_example=pd.DataFrame({"zone": ["city", "island"], "kg": [2.0, 0.5]}),
    pip_requirements=[f"mlflow=={mlflow.__version__}", f"pandas=={pd.__version__}"],
)
