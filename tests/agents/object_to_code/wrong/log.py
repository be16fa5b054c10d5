import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema
from model_code import Celsius

mlflow.pyfunc.save_model(
    "model",
    python_model=Celsius(),
    signature=ModelSignature(
        Schema([ColSpec(AnyType(), "fahrenheit")]),
        Schema([ColSpec(DataType.double, "celsius")]),
    ),
    input_example=pd.DataFrame({"fahrenheit": [32.0, 212.0]}),
    pip_requirements=[f"mlflow=={mlflow.__version__}", f"pandas=={pd.__version__}"],
)
