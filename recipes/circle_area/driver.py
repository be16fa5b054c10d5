"""Log circle_area from its code and predict once.

python recipes/circle_area/driver.py
"""

import json
from pathlib import Path

from shared.run import recipe_run, report

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

HERE = Path(__file__).parent
DESCRIPTION = """
**Area of circles** from their `diameter` or `radius`, in the square of the unit that comes in.

The model is the file `model_code.py`: open the logged model and look under *Artifacts*. The metric
is the largest answer to the dataset, the rows of `request.json`.
"""

# With a `double` column MLflow would turn true into 1.0 and "3" into 3 before the model sees them;
# a column of any type arrives as it was sent, and the model itself can refuse.
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(AnyType(), "diameter", required=False),
            ColSpec(AnyType(), "radius", required=False),
        ]
    ),
    outputs=Schema([ColSpec(DataType.double, "area")]),
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    with recipe_run(__file__, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name="circle_area",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="circle_area",
        )
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(example)
        dataset = mlflow.data.from_pandas(example, name="request.json")
        mlflow.log_input(dataset, context="example")
        mlflow.log_params(
            {"inputs": SIGNATURE.inputs.input_names(), "rows": len(example)}
        )
        largest = answer.max(numeric_only=True).add_prefix("largest ").to_dict()
        mlflow.log_metrics(largest, model_id=model.model_id, dataset=dataset)
    asked, got = example.iloc[-1].dropna().to_dict(), answer.iloc[-1].to_dict()
    report(model, headline=f"{asked} -> {got}", prediction=example.join(answer))


if __name__ == "__main__":
    main()
