"""Log graph_agent from its code and evaluate how it reads a clerk's messages.

python recipes/graph_agent/driver.py
"""

import json
import os
from pathlib import Path

from shared.local_embeddings import local_embeddings
from shared.run import recipe_run, report

import mlflow
import pandas as pd
from model_code import nearest_intent, read_numbers

HERE = Path(__file__).parent
NAME = "graph_agent"
DESCRIPTION = """
**Answers a shop's clerk in words**: forecasts what a customer will spend, or refunds
one after a yes.

The metrics are of 60 messages: the examples in the model's code were chosen on one
half, the other half was held out.
"""


def read_utterances() -> pd.DataFrame:
    """Return the messages with the intent and the numbers that they have."""
    columns = {"customer": "Int64", "amount": "float"}
    return pd.read_csv(HERE / "utterances.csv", dtype=columns)


def evaluate(utterances: pd.DataFrame) -> pd.DataFrame:
    """Return a row per message: was it routed right, taken for a refund, read right."""
    rows = utterances.copy()
    rows["read as"] = [nearest_intent(text) for text in rows["text"]]
    numbers = pd.DataFrame([read_numbers(text) for text in rows["text"]])
    rows["routed right"] = rows["read as"] == rows["intent"]
    rows["false refund"] = (rows["read as"] == "refund") & ~rows["routed right"]
    rows["numbers right"] = True
    for name in ("customer", "amount"):
        rows["numbers right"] &= numbers[name].fillna(-1) == rows[name].fillna(-1)
    return rows


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    utterances = read_utterances()
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"  # SQLite has one writer
    with local_embeddings(), recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            artifacts={"customers": str(HERE / "customers.csv")},
            input_example=request,  # log_model asks it twice: the service must be up
            pip_requirements=str(HERE / "requirements.txt"),
        )
        agent = mlflow.pyfunc.load_model(model.model_uri)
        answer = agent.predict(request)
        mlflow.tracing.disable()  # or each embedding below is a trace
        rows = evaluate(utterances)
        mlflow.tracing.enable()
        mlflow.log_table(rows, "utterances.json")
        counts = rows.groupby("part")[["routed right", "false refund", "numbers right"]]
        for part, row in counts.sum().iterrows():
            named = {f"{part} {name}": count for name, count in row.items()}
            mlflow.log_metrics(named, model_id=model.model_id)
        held_out = rows[rows["part"] == "held out"]
        report(
            model,
            headline=f"of {len(held_out)} held-out messages "
            f"{held_out['routed right'].sum()} routed right, "
            f"{held_out['false refund'].sum()} taken for a refund by mistake, "
            f"numbers of {held_out['numbers right'].sum()} read right",
            prediction=answer["output"][0]["content"][0]["text"],
        )
        mlflow.register_model(model.model_uri, NAME)


if __name__ == "__main__":
    main()
