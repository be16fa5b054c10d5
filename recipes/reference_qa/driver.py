"""Log reference_qa from its code and evaluate it on questions in a user's words.

python recipes/reference_qa/driver.py
"""

import json
import os
import sys
from pathlib import Path

from shared.local_embeddings import local_embeddings
from shared.run import recipe_run, report

import mlflow
import pandas as pd
from evaluation import (
    ask,
    between,
    figures,
    keep_traces,
    read_questions,
    text_of,
)
from model_code import CONFIG
from passages import FILE

HERE = Path(__file__).parent
NAME = "reference_qa"
DESCRIPTION = """
**Answers "which function does that?" out of Python's standard library**: embed the
question, retrieve entries, refuse or answer, cite.

The metrics are of questions in a user's words: those that the settings were chosen on,
and those held out. One question of each kind is kept as a trace with its scores, a span
for each step (*Traces*).
"""


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    questions = read_questions(pd.read_parquet(FILE))
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"  # SQLite has one writer
    with local_embeddings(), recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            artifacts={"entries": str(FILE)},
            model_config=CONFIG,  # params of the run; load_model can change only these
            input_example=request,  # log_model asks it twice: the service must be up
            pip_requirements=str(HERE / "requirements.txt"),
        )
        agent = mlflow.pyfunc.load_model(model.model_uri)
        rows = ask(agent, questions)
        mlflow.log_table(rows, "questions.json")
        failed = rows["error"].dropna()
        mlflow.log_metric("failed answers", len(failed))
        if len(failed):
            sys.exit(
                f"{len(failed)} answers failed, nothing registered: {failed.iloc[0]}"
            )
        for part, some in rows.groupby("part"):
            shares = figures(some)
            named = {f"{part} {name}": share for name, share in shares.items()}
            mlflow.log_metrics(named, model_id=model.model_id)
        keep_traces(agent, questions)
        unseen = figures(rows[rows["part"] == "held out"])
        report(
            model,
            headline=", ".join(f"{name} {share:.0%}" for name, share in unseen.items()),
            prediction=text_of(agent.predict(request)),
        )
        print(between(rows[rows["part"] == "choosing"]))
        mlflow.register_model(model.model_uri, NAME)


if __name__ == "__main__":
    main()
