"""Measure two ways to type a model: what each takes, what each costs."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types.schema import ColSpec, Schema

from benchmarks.report import Rows, compare, interleave, publish
from recipes.circle_area.driver import HERE, SIGNATURE

MODEL: dict[str, Any] = {  # as the recipe's driver logs it
    "python_model": HERE / "model_code.py",
    "signature": SIGNATURE,
    "input_example": pd.DataFrame({"diameter": [2.0]}),
    "pip_requirements": str(HERE / "requirements.txt"),
}
TYPED: dict[str, Any] = {"python_model": HERE / "typed.py", "signature": None}
TYPED |= {"input_example": [{"diameter": 2.0}]}
BARE = "bare NumPy, `np.pi * diameter**2 / 4`"
VALUES = [2, 2.5, True, "3", None, -1, 1e200]
SPLIT = {"columns": ["diameter"], "data": [[2]]}
FORMS: dict[str, dict[str, Any]] = {
    "`dataframe_split`": {"dataframe_split": SPLIT},
    "`dataframe_records`": {"dataframe_records": [{"diameter": 2}]},
    "`instances`": {"instances": [{"diameter": 2}]},
    "`inputs`, rows": {"inputs": [{"diameter": 2}]},
    "`inputs`, columns": {"inputs": {"diameter": [2]}},
    "one more column": {"inputs": [{"diameter": 2, "unit": "m"}]},
    "no `diameter`": {"inputs": [{"radius": 2}]},
}


def save(folder: str | Path, **changes: Any) -> None:
    """Save the model, with other arguments in place of some."""
    mlflow.pyfunc.save_model(folder, **(MODEL | changes))


def loaded(**changes: Any) -> Any:
    """Return the model, saved and loaded again."""
    with tempfile.TemporaryDirectory() as name:
        save(f"{name}/model", **changes)
        return mlflow.pyfunc.load_model(f"{name}/model")


def both_ways() -> dict[str, Any]:
    """Return the model in its two ways, under the names that the tables use."""
    return {
        "a table (`model_code.py`)": loaded(),
        "a list of circles (`typed.py`)": loaded(**TYPED),
    }


def respond(model: Any, body: dict[str, Any]) -> str:
    """Return what the model server's own code makes of a body: areas, or refused."""
    schema = model.metadata.get_input_schema()
    try:
        response = invocations(json.dumps(body), "application/json", model, schema)
    except mlflow.MlflowException as error:
        return f"refused ({error.get_http_status_code()})"
    rows = json.loads(response.response)["predictions"]
    areas = [row["area"] if isinstance(row, dict) else row for row in rows]
    return ", ".join(f"{area:.2f}" for area in areas)


def answers(models: dict[str, Any], column: str, bodies: dict[str, Any]) -> Rows:
    rows: Rows = []
    for name, body in bodies.items():
        row = {way: respond(model, body) for way, model in models.items()}
        rows.append({column: name} | row)
    return rows


def values_taken(models: dict[str, Any]) -> Rows:
    bodies = {f"`{json.dumps(v)}`": {"inputs": [{"diameter": v}]} for v in VALUES}
    return answers(models, "diameter", bodies)


def forms_taken(models: dict[str, Any]) -> Rows:
    return answers(models, "body of the request", FORMS)


def cost() -> Rows:
    """Return each way's milliseconds, and how many times those of bare NumPy."""
    values = np.random.default_rng(0).uniform(0, 100, 100_000)
    table = pd.DataFrame({"diameter": values})
    circles = [{"diameter": value} for value in values.tolist()]
    column, typed = both_ways().values()
    double = ModelSignature(Schema([ColSpec("double", "diameter")]))
    numbers = loaded(signature=double)
    rivals: dict[str, Callable[[], object]] = {
        BARE: lambda: np.pi * values**2 / 4,
        "`predict` without the signature": partial(
            column.unwrap_python_model().predict, table
        ),
        "a table, column `double`": partial(numbers.predict, table),
        "a table, column of any type": partial(column.predict, table),
        "a list of circles": partial(typed.predict, circles),
    }
    times = 1000 * interleave(rivals, rounds=5)
    return compare(times, "way", "ms", BARE, "times as long as bare NumPy")


if __name__ == "__main__":
    models = both_ways()
    tables = {
        "One diameter, sent over REST": values_taken(models),
        "One circle of diameter 2, in each form of a request": forms_taken(models),
        "Cost of a prediction of 100,000 rows": cost(),
    }
    publish("circle_area", tables)
