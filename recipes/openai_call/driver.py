"""Log openai_call without calling a service, then have it read request.json's texts.

python recipes/openai_call/driver.py
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
from mlflow.types.schema import ColSpec, Schema

HERE = Path(__file__).parent
NAME = "openai_call"
DESCRIPTION = """
**Product, price and sentiment** of customer feedback, read by a language-model service.

The model is the file `model_code.py`, under *Artifacts* of the logged model. The
metrics count the texts that were answered, those that ended in an error, and the tokens
that the service reports. Each call is a trace: prompt, response, tokens, time.
"""
SETTINGS = {  # of the request; README.md says what other services want
    "request": {"temperature": 0, "max_completion_tokens": 200},
    "response_format": "json_schema",
    "row_seconds": 120,
    "retries": 2,
    "calls_at_once": 8,
}
FIELDS = {"product": "string", "price": "double", "sentiment": "string"}
OTHERS = {
    "made_up": "string",
    "input_tokens": "long",
    "output_tokens": "long",
    "error": "string",
    "detail": "string",
}
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "text")]),
    outputs=Schema(
        [
            ColSpec(kind, name, required=False)
            for name, kind in (FIELDS | OTHERS).items()
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
            model_config=SETTINGS,
            signature=SIGNATURE,
            # log_model tries its example; a blank text is refused without a call.
            input_example=pd.DataFrame({"text": [""]}),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        mlflow.log_params({"language model": os.environ["OPENAI_MODEL"]})
        mlflow.openai.autolog()  # one trace for each call, attached to the model
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(texts)
        mlflow.flush_trace_async_logging(terminate=True)

        answered = answer["error"].isna()
        tokens = answer[["input_tokens", "output_tokens"]].sum()
        dataset = from_pandas(texts, name="feedback")
        mlflow.log_input(dataset, context="example")
        mlflow.log_metrics(
            {
                "texts answered": int(answered.sum()),
                "texts with an error": int((~answered).sum()),
                "input tokens": int(tokens["input_tokens"]),
                "output tokens": int(tokens["output_tokens"]),
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
        headline=f"{answered.sum()} texts answered, {(~answered).sum()} with an error, "
        f"{tokens.sum()} tokens",
        prediction=answer.drop(columns="detail"),
    )


if __name__ == "__main__":
    main()
