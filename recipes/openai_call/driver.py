"""Log openai_call from its code, without one call to a service, and ask the texts of request.json.

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
DESCRIPTION = """
**Product, price and sentiment** of customer feedback, asked of a language-model service.

The model is the file `model_code.py`, under *Artifacts* of the logged model. The metrics count the
texts of the dataset that were answered, those that ended in a typed error, and the tokens that the
service says it used. Each call is a trace: prompt, reply, tokens, time.
"""
FIELDS = {"product": "string", "price": "double", "sentiment": "string"}
OTHERS = {
    "input_tokens": "long",
    "output_tokens": "long",
    "error": "string",
    "detail": "string",
}
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "text")]),
    outputs=Schema(
        [ColSpec(kind, name, False) for name, kind in (FIELDS | OTHERS).items()]
    ),
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    texts = pd.DataFrame(**request["dataframe_split"])
    with local_llm(), recipe_run(__file__, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name="openai_call",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            # log_model tries its example out; a blank text is refused before anybody is called.
            input_example=pd.DataFrame({"text": [""]}),
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="openai_call",
        )
        mlflow.log_params({"language model": os.environ["OPENAI_MODEL"]})
        mlflow.openai.autolog()  # one trace for each call, attached to the model
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(texts)
        mlflow.flush_trace_async_logging(terminate=True)

        answered, tokens = (
            answer["error"].isna(),
            answer[["input_tokens", "output_tokens"]].sum(),
        )
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
            sys.exit(
                f"no text was answered: {answer['error'].iloc[0]}: {answer['detail'].iloc[0]}"
            )
    report(
        model,
        headline=f"{answered.sum()} texts answered, {(~answered).sum()} with a typed error, "
        f"{tokens.sum()} tokens",
        prediction=answer.drop(columns="detail"),
    )


if __name__ == "__main__":
    main()
