"""Log openai_call from its code, without one call to a service, and predict once.

python recipes/openai_call/driver.py
"""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema

from shared.local_llm import local_llm
from shared.run import recipe_run, report

HERE = Path(__file__).parent
PRICES = Object([Property(side, DataType.double, required=False) for side in ("input", "output")])
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "product", required=False),
            ColSpec(DataType.double, "price", required=False),
            ColSpec(DataType.string, "sentiment", required=False),
            ColSpec(DataType.long, "input_tokens"),
            ColSpec(DataType.long, "output_tokens"),
            ColSpec(DataType.double, "cost", required=False),
            ColSpec(DataType.string, "error", required=False),
            ColSpec(DataType.string, "detail", required=False),
        ]
    ),
    params=ParamSchema(
        [ParamSpec("prices", PRICES, {}), ParamSpec("dry_run", DataType.boolean, False)]
    ),
)


EXAMPLE = pd.DataFrame(
    {
        "text": [
            "The Sparrow kids scooter is fun, and $54 is fair.",
            "The Cloud memory pillow for $39.90 is awful and flat already.",
            "",
        ]
    }
)


def log_model() -> "mlflow.models.model.ModelInfo":
    return mlflow.pyfunc.log_model(
        name="openai_call",
        python_model=HERE / "model_code.py",
        code_paths=[str(HERE / "openai_call_client")],
        signature=SIGNATURE,
        # log_model tries its example out; with dry_run stored beside it, that calls nobody.
        input_example=(EXAMPLE, {"dry_run": True}),
        pip_requirements=str(HERE / "requirements.txt"),
    )


def main() -> None:
    with recipe_run(__file__, __doc__):
        model = log_model()
        mlflow.openai.autolog()  # one trace for each call, attached to the model
        with local_llm():
            answer = mlflow.pyfunc.load_model(model.model_uri).predict(EXAMPLE)
        mlflow.flush_trace_async_logging(terminate=True)
        mlflow.log_metrics(
            {
                "rows answered": int(answer["error"].isna().sum()),
                "rows with an error": int(answer["error"].notna().sum()),
                "input tokens": int(answer["input_tokens"].sum()),
                "output tokens": int(answer["output_tokens"].sum()),
            }
        )
    report(
        model,
        headline=f"{answer['error'].isna().sum()} texts answered, {answer['error'].notna().sum()} "
        f"with a typed error, {answer[['input_tokens', 'output_tokens']].to_numpy().sum()} tokens",
        prediction=answer.drop(columns=["cost", "detail"]),
    )


if __name__ == "__main__":
    main()
