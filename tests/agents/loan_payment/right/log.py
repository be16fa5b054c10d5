import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

mlflow.pyfunc.save_model(
    "model",
    python_model="model_code.py",
    signature=ModelSignature(
        Schema([ColSpec(AnyType(), "amount")]),
        Schema([ColSpec(DataType.double, "payment")]),
        ParamSchema([ParamSpec("months", DataType.long, 120)]),
    ),
    input_example=pd.DataFrame({"amount": [10_000.0, 250_000.0]}),
    pip_requirements=[f"mlflow=={mlflow.__version__}", f"pandas=={pd.__version__}"],
)
