"""Log openai_batch from its code, without one call, and ask the texts of request.json.

python recipes/openai_batch/driver.py
"""

import json
import os
import sys
from pathlib import Path

from shared.local_llm import local_llm
from shared.run import recipe_run, report

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema
from model_code import EXAMPLES

HERE = Path(__file__).parent
NAME = "openai_batch"
DESCRIPTION = """
**Product, price and sentiment** of customer feedback, asked of a language-model service
that may misbehave: every row ends in an answer or a typed error before its deadline.

The model is the file `model_code.py` with the package `openai_batch_client`, under
*Artifacts* of the logged model. The metrics count the texts of the dataset that were
answered, those that ended in a typed error, the tokens that the service says it used,
and what they cost. Each call is a trace.
"""
FIELDS = {"product": "string", "price": "double", "sentiment": "string"}
TOKENS = ["input_tokens", "output_tokens"]
OTHERS = {
    "made_up": "string",
    "input_tokens": "long",
    "output_tokens": "long",
    "cost": "double",
    "unsupported": "string",
    "error": "string",
    "detail": "string",
}
OUTPUTS = FIELDS | OTHERS
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "text")]),
    outputs=Schema([ColSpec(kind, name, False) for name, kind in OUTPUTS.items()]),
    params=ParamSchema(
        [
            ParamSpec("input_price", "double", None),
            ParamSpec("output_price", "double", None),
        ]
    ),
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    texts = pd.DataFrame(**request["dataframe_split"])
    with local_llm(), recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            code_paths=[str(HERE / "openai_batch_client")],
            signature=SIGNATURE,
            # Whoever tries the example out calls nobody: the model knows its answers.
            input_example=pd.DataFrame({"text": list(EXAMPLES)}),
            model_config={"model": os.environ["OPENAI_MODEL"], "deadline_s": 60.0},
            pip_requirements=str(HERE / "requirements.txt"),
        )
        mlflow.log_params(request["params"])  # those of model_config are logged already
        mlflow.openai.autolog()  # one trace for each call, attached to the model
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(
            texts, request["params"]
        )
        mlflow.flush_trace_async_logging(terminate=True)

        answered = answer["error"].isna()
        tokens = answer[TOKENS].sum()
        dataset = from_pandas(texts, name="feedback")
        mlflow.log_input(dataset, context="example")
        mlflow.log_metrics(
            {
                "texts answered": int(answered.sum()),
                "texts with an error": int((~answered).sum()),
                "input tokens": int(tokens["input_tokens"]),
                "output tokens": int(tokens["output_tokens"]),
                "cost in USD": float(answer["cost"].sum()),
            },
            model_id=model.model_id,
            dataset=dataset,
        )
        if not answered.any():
            first = answer.iloc[0]
            sys.exit(f"no text was answered: {first['error']}: {first['detail']}")
        mlflow.register_model(model.model_uri, NAME)
    report(
        model,
        headline=f"{answered.sum()} texts answered, {(~answered).sum()} with a typed "
        f"error, {tokens.sum()} tokens, {answer['cost'].sum():.6f} USD",
        prediction=answer.drop(columns=["made_up", "unsupported", "detail"]),
    )


if __name__ == "__main__":
    main()
