"""Log reference_qa from its code, without one call to a service, and evaluate it on 100 questions.

python recipes/reference_qa/driver.py
"""

import json
import os
from pathlib import Path

from shared.local_embeddings import local_embeddings
from shared.run import recipe_run, report

import mlflow
import pandas as pd
from evaluation import QUESTIONS, evaluate, summary
from mlflow.data.pandas_dataset import from_pandas
from model_code import CONFIG
from passages import FILE

HERE = Path(__file__).parent
DESCRIPTION = """
**Answers about Python out of its own reference**: embed the question, find passages, refuse or
answer, cite.

The metrics are of questions in a user's words: those that were used for choosing, and those held
out. Some questions are kept as traces, a span for each step, with their scores (*Traces*).
"""


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"  # SQLite has one writer
    with local_embeddings(), recipe_run(__file__, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name="reference_qa",
            python_model=HERE / "model_code.py",
            artifacts={"passages": str(FILE)},
            model_config=CONFIG,  # load_model(model_config=...) changes only what is logged here
            # log_model asks twice, also without an example; a dry run calls no service.
            input_example=request | {"custom_inputs": {"dry_run": True}},
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="reference_qa",
        )
        mlflow.log_params(
            {**CONFIG, "embedding model": os.environ["OPENAI_EMBEDDING_MODEL"]}
        )
        agent = mlflow.pyfunc.load_model(model.model_uri)
        questions = pd.read_csv(QUESTIONS, keep_default_na=False)
        rows = evaluate(agent, questions, traced=1)
        mlflow.log_table(rows, "questions.json")
        figures = {}
        for part, some in rows.groupby("part"):
            dataset = from_pandas(
                some[["question", "phrase"]], name=f"{len(some)} questions, {part}"
            )
            mlflow.log_input(dataset, context="evaluation")
            figures[part] = summary(some)
            named = {f"{part} {name}": value for name, value in figures[part].items()}
            mlflow.log_metrics(named, model_id=model.model_id, dataset=dataset)
        answer = agent.predict(request)
    unseen = figures["held out"]
    report(
        model,
        headline=f"unseen questions: passage among the first 5 {unseen['recall at 5']:.0%}, "
        f"answered {unseen['answered']:.0%}, out of scope refused "
        f"{unseen['refused out of scope']:.0%}, grounded {unseen['grounded']:.0%}",
        prediction=answer["output"][0]["content"][0]["text"],
    )


if __name__ == "__main__":
    main()
