"""Log circle_area from its code, predict once, and register it.

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
NAME = "circle_area"
DESCRIPTION = """
**Area of circles** from their `diameter`, in the square of its unit.

The model is the file `model_code.py`: open the logged model and look under *Artifacts*.
"""

# In a `double` column MLflow would turn true into 1.0 and "3" into 3.0 before the model
# sees them. A column of any type arrives as it was sent, and the model can refuse.
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(AnyType(), "diameter")]),
    outputs=Schema([ColSpec(DataType.double, "area")]),
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    with recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=str(HERE / "requirements.txt"),
        )
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(example)
        mlflow.register_model(model.model_uri, NAME)
    last_row, last_answer = example.iloc[-1].to_dict(), answer.iloc[-1].to_dict()
    headline = f"{last_row} -> {last_answer}"
    report(model, headline, prediction=example.join(answer))


if __name__ == "__main__":
    main()
