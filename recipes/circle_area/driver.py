"""Log circle_area from its code and predict once.

python recipes/circle_area/driver.py
"""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from shared.run import recipe_run, report

HERE = Path(__file__).parent

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
    example = pd.DataFrame({"diameter": [1.0, 2.0, 10.0]})
    with recipe_run(__file__):
        model = mlflow.pyfunc.log_model(
            name="circle_area",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=str(HERE / "requirements.txt"),
        )
    circle = mlflow.pyfunc.load_model(model.model_uri)
    areas = circle.predict(example)
    report(
        model,
        headline=f"a circle of diameter 2 has the area {areas['area'][1]:.6f}",
        prediction=example.join(areas),
    )


if __name__ == "__main__":
    main()
