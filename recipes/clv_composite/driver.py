"""Fit four models on CDNOW, log each, log their composite, and score it on later weeks.

python recipes/clv_composite/driver.py
"""

import json
import sys
from pathlib import Path
from typing import Any

from shared.run import recipe_run, report

import cdnow
import mlflow
import pandas as pd
from checks import check_finite, check_history, check_settings, scored_weeks
from component import CUSTOMER, Component
from customers import (
    LEARN_AT,
    customer_table,
    daily_orders,
    learning_days,
    outcomes,
    training_rows,
)
from evaluation import figure, scores
from fitting import Fit, fit_parts
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import LoggedModelInput
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import (
    AnyType,
    ColSpec,
    DataType,
    ParamSchema,
    ParamSpec,
    Schema,
)
from model_code import COLUMNS, CustomerLifetimeValue, features

CUTOFF = pd.Timestamp("1997-09-30")  # the last day to learn from, as in the papers
HORIZON = 39.0  # weeks after the cutoff that the forecast is scored on

HERE = Path(__file__).parent
NAME = "clv_composite"
REQUIREMENTS = str(HERE / "requirements.txt")
PART_DESCRIPTION = """
**The {part} part of {composite}**, from code, with its parameters in `fitted.json`.
It was fitted on the orders up to the `cutoff`.
"""
DESCRIPTION = """
**What each customer will spend** over any horizon. The forecast is composed of the
models in the run's inputs, which were fitted on the orders up to the `cutoff`.

The metrics are those of the `scored_weeks` after it, which no part has seen: Tweedie
deviance (power 1.5), Gini of the ranking (1 is ideal), error of the total, RMSE. Beside
them stand those of BG/NBD with Gamma-Gamma, and those of a back-test: the same model
fitted at an earlier cutoff. *holdout.png* shows the spending by decile, and how much of
it a campaign would reach.
"""


def signature(
    inputs: list[str], outputs: list[str], horizon: bool = True
) -> ModelSignature:
    """Return a signature whose columns arrive as they were sent.

    With a `double` column MLflow would turn true into 1.0 and "39" into 39.0.
    """
    weeks = [ParamSpec("horizon_weeks", DataType.double, HORIZON)] if horizon else []
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name) for name in inputs]),
        outputs=Schema([ColSpec(DataType.double, name) for name in outputs]),
        params=ParamSchema(weeks),
    )


SIGNATURE = signature(
    list(COLUMNS), ["clv", "expected_purchases", "aov", "p_return", "horizon_weeks"]
)


def fit(transactions: pd.DataFrame, cutoff: pd.Timestamp) -> dict[str, Fit]:
    """Return the parts, fitted on the orders up to the cutoff."""
    rows = training_rows(transactions, cutoff)
    return fit_parts(features(rows), rows, customer_table(transactions, cutoff))


def log_part(name: str, fitted: Fit, dataset: PandasDataset) -> ModelInfo:
    """Log one part as a model of its own: code and parameters, no pickle."""
    with recipe_run(NAME, PART_DESCRIPTION.format(part=name, composite=NAME), name):
        mlflow.log_dict(fitted.parameters, "fitted.json")
        if name == "textbook":
            part_signature = signature(list(CUSTOMER), ["expected_purchases", "clv"])
        else:
            outputs = [fitted.parameters["answers"], *fitted.parameters["constants"]]
            part_signature = signature(list(fitted.inputs), outputs, horizon=False)
        model = mlflow.pyfunc.log_model(
            name=name,
            python_model=HERE / "component.py",
            artifacts={"fitted": mlflow.get_artifact_uri("fitted.json")},
            signature=part_signature,
            input_example=fitted.inputs[part_signature.inputs.input_names()].head(),
            pip_requirements=REQUIREMENTS,
        )
        mlflow.log_input(dataset, context="training")
        mlflow.log_params({"cutoff": CUTOFF.date(), "learned at": LEARN_AT})
        mlflow.log_metrics(fitted.measures, model_id=model.model_id, dataset=dataset)
    return model


def back_test(transactions: pd.DataFrame) -> tuple[pd.Timestamp, dict[str, float]]:
    """Return an earlier cutoff and the scores that the same model has from there.

    The cutoff is where two thirds of the time up to CUTOFF have passed.
    """
    orders = daily_orders(transactions)
    first = orders["date"].min()
    cutoff = (first + (CUTOFF - first) * 2 / 3).normalize()
    weeks = scored_weeks(orders, cutoff, HORIZON)
    check_history(orders, cutoff, learning_days(first, cutoff)[0])
    composite = CustomerLifetimeValue()
    composite.parts = {}
    for name, fitted in fit(transactions, cutoff).items():
        composite.parts[name] = Component()
        composite.parts[name].fitted = fitted.parameters
    customers = customer_table(transactions, cutoff)
    forecast = composite.predict(None, customers, {"horizon_weeks": weeks})["clv"]
    spent = outcomes(transactions, customers.index, cutoff, weeks)["value"]
    return cutoff, scores(spent, forecast)


def summary(metrics: dict[str, float], prefix: str = "") -> str:
    deviance = metrics[f"{prefix}deviance"]
    gini = metrics[f"{prefix}Gini"]
    total = metrics[f"{prefix}total error in percent"]
    return f"deviance {deviance:.1f}, Gini {gini:.2f}, total {total:+.0f} %"


def evaluate(
    model: ModelInfo,
    transactions: pd.DataFrame,
    weeks: float,
    textbook: ModelInfo | None,
) -> str:
    """Log the scores of the weeks after the cutoff, and of a back-test; return them."""
    customers = customer_table(transactions, CUTOFF)
    spent = outcomes(transactions, customers.index, CUTOFF, weeks)["value"]
    horizon = {"horizon_weeks": weeks}
    composite = mlflow.pyfunc.load_model(model.model_uri)
    forecasts = {"composite": composite.predict(customers, params=horizon)["clv"]}
    params: dict[str, Any] = {"cutoff": CUTOFF.date(), "scored_weeks": weeks}
    metrics = scores(spent, forecasts["composite"])
    period = f"{HORIZON:g} weeks ahead"
    if weeks < HORIZON:
        period = f"only {weeks:.1f} of {HORIZON:g} weeks ahead, where the orders end"
    headline = f"{period}: {summary(metrics)}"
    if textbook:
        part = mlflow.pyfunc.load_model(textbook.model_uri)
        bgnbd = part.predict(customers[list(CUSTOMER)], params=horizon)["clv"]
        forecasts["BG/NBD + Gamma-Gamma"] = bgnbd
        for name, value in scores(spent, bgnbd).items():
            metrics[f"BG/NBD {name}"] = value
        headline += f" (BG/NBD: {summary(metrics, 'BG/NBD ')})"
    try:
        earlier, earlier_scores = back_test(transactions)
        params["back-test cutoff"] = earlier.date()
        for name, value in earlier_scores.items():
            metrics[f"back-test {name}"] = value
        headline += f"; back-test: {summary(metrics, 'back-test ')}"
    except ValueError as error:
        print(f"no back-test: {error}")
    check_finite(metrics)
    table = customers.assign(spent=spent)
    dataset = from_pandas(table, name="holdout", targets="spent")
    mlflow.log_input(dataset, context="evaluation")
    mlflow.log_params(params)
    mlflow.log_metrics(metrics, model_id=model.model_id, dataset=dataset)
    mlflow.log_figure(figure(spent, forecasts), "holdout.png")
    return headline


def main() -> None:
    transactions = cdnow.load()  # your orders
    try:
        check_settings(CUTOFF, HORIZON)
        orders = daily_orders(transactions)
        weeks = scored_weeks(orders, CUTOFF, HORIZON)
        first = orders["date"].min()
        check_history(orders, CUTOFF, learning_days(first, CUTOFF)[0])
    except ValueError as error:
        sys.exit(str(error))  # one sentence, before anything is logged

    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    fits = fit(transactions, CUTOFF)
    seen = from_pandas(orders[orders["date"] <= CUTOFF], name="orders to the cutoff")
    parts = {name: log_part(name, fitted, seen) for name, fitted in fits.items()}

    with recipe_run(NAME, DESCRIPTION) as run:
        # Each part is pinned by its id; a name or alias may move. Its files are copied.
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            artifacts={name: part.model_uri for name, part in parts.items()},
            signature=SIGNATURE,
            input_example=(example, request["params"]),
            pip_requirements=REQUIREMENTS,
        )
        # The copy records no lineage by itself.
        lineage = [LoggedModelInput(part.model_id) for part in parts.values()]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
        headline = evaluate(model, transactions, weeks, parts.get("textbook"))
        composite = mlflow.pyfunc.load_model(model.model_uri)
        answer = composite.predict(example, params=request["params"])
        for name, part in parts.items():
            mlflow.register_model(part.model_uri, f"{NAME}_{name}")
        mlflow.register_model(model.model_uri, NAME)
    report(model, headline, answer.round(2))


if __name__ == "__main__":
    main()
