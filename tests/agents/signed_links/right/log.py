import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

mlflow.pyfunc.save_model(
    "model",
    python_model="model_code.py",
    signature=ModelSignature(
        Schema([ColSpec(AnyType(), "invoice")]),
        Schema([ColSpec(DataType.string, "signature")]),
    ),
    input_example=pd.DataFrame({"invoice": ["2026-0001", "2026-0002"]}),
    pip_requirements=[f"mlflow=={mlflow.__version__}", f"pandas=={pd.__version__}"],
)
