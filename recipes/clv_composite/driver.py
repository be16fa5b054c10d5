"""Fit four models on CDNOW, log each, log their composite, and score it on weeks ahead.

python recipes/clv_composite/driver.py
"""

import json
from pathlib import Path
from typing import Any

from shared.run import recipe_run, report

import cdnow
import fitting
import mlflow
import pandas as pd
from customers import AT, customer_table, orders, outcomes, training_rows
from evaluation import figure, scores
from mlflow.data.pandas_dataset import PandasDataset, from_pandas
from mlflow.entities import LoggedModelInput
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import (
    AnyType,
    ColSpec,
    DataType,
    ParamSchema,
    ParamSpec,
    Schema,
)
from model_code import COLUMNS, features

HERE = Path(__file__).parent
REQUIREMENTS = str(
    HERE / "requirements.txt"
)  # a composite inherits none: one list for all
CUTOFF, HORIZON = pd.Timestamp("1997-09-30"), 39.0  # weeks; the split of the papers
PART = """
**The {name} part of clv_composite**, from code, with the parameters in `fitted.json`; fitted on the
dataset.
"""
DESCRIPTION = """
**What each customer will spend** over any horizon, composed of the registered models in the run's
inputs; what they were fitted on ends at the `cutoff`.

The metrics are of the `horizon_weeks` after it, which no part has seen: Tweedie deviance (power
1.5), Gini of the ranking (1 is perfect), error of the total, RMSE. Those of BG/NBD with Gamma-Gamma
stand beside them. *holdout.png* shows spending by decile, and whom a campaign would reach.
"""
# Columns of any type arrive as they were sent: `double` would turn true into 1 and "39" into 39.
OUTPUTS = ("clv", "expected_purchases", "aov", "p_return", "horizon_weeks")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(AnyType(), name) for name in COLUMNS]),
    outputs=Schema([ColSpec(DataType.double, name) for name in OUTPUTS]),
    params=ParamSchema([ParamSpec("horizon_weeks", DataType.double, HORIZON)]),
)


def log_part(
    name: str, seen: PandasDataset, x: pd.DataFrame, fitted: Any, fit: Any
) -> ModelInfo:
    """Log what was fitted on `x` as a model of its own: no pickle, but code and parameters."""
    with recipe_run(__file__, PART.format(name=name), name):
        mlflow.log_dict(fitted, "fitted.json")
        model = mlflow.pyfunc.log_model(
            name=name,
            python_model=HERE / "component.py",
            artifacts={"fitted": mlflow.get_artifact_uri("fitted.json")},
            signature=infer_signature(x.head(), params={"horizon_weeks": HORIZON}),
            input_example=x.head(),
            pip_requirements=REQUIREMENTS,
            registered_model_name=f"clv_{name}",
        )
        mlflow.log_input(seen, context="training")
        mlflow.log_params({"cutoff": CUTOFF.date(), "learned at": AT, "rows": len(x)})
        mlflow.log_metrics(fit, model_id=model.model_id, dataset=seen)
    return model


def main() -> None:
    transactions = cdnow.load()  # your orders
    rows, customers = (
        training_rows(transactions, CUTOFF),
        customer_table(transactions, CUTOFF),
    )
    x, once, back, paid = (
        features(rows),
        rows["once"],
        rows["returned"],
        rows["value"] > 0,
    )
    fits = {
        "retention": (x[once], *fitting.fit_retention(x[once], rows[once])),
        "frequency": (x[back], *fitting.fit_frequency(x[back], rows[back])),
        "aov": (x[paid], *fitting.fit_order_value(x[paid], rows[paid])),
    }
    try:
        fits["textbook"] = (customers, *fitting.fit_textbook(customers))
    except ValueError as error:
        print(f"BG/NBD with Gamma-Gamma is left out: {error}")
    seen = from_pandas(
        orders(transactions).query("date <= @CUTOFF"), name="orders to the cutoff"
    )
    parts = {name: log_part(name, seen, *fit) for name, fit in fits.items()}

    example = pd.DataFrame(
        **json.loads((HERE / "request.json").read_text())["dataframe_split"]
    )
    with recipe_run(__file__, DESCRIPTION) as run:
        # Pinned by id, not by a name or alias that may move; the files are copied in.
        model = mlflow.pyfunc.log_model(
            name="clv_composite",
            python_model=HERE / "model_code.py",
            artifacts={name: part.model_uri for name, part in parts.items()},
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=REQUIREMENTS,
            registered_model_name="clv_composite",
        )
        # The copy records no lineage by itself.
        lineage = [LoggedModelInput(part.model_id) for part in parts.values()]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
        composite = mlflow.pyfunc.load_model(model.model_uri)
        spent = outcomes(transactions, customers.index, CUTOFF, HORIZON)["value"]
        forecasts = {"composite": composite.predict(customers)["clv"]}
        if "textbook" in parts:
            textbook = mlflow.pyfunc.load_model(parts["textbook"].model_uri)
            forecasts["BG/NBD + Gamma-Gamma"] = textbook.predict(customers)["clv"]
        dataset = from_pandas(
            customers.assign(spent=spent), name="holdout", targets="spent"
        )
        mlflow.log_input(dataset, context="evaluation")
        mlflow.log_params(
            {"cutoff": CUTOFF.date(), "horizon_weeks": HORIZON, "learned at": AT}
        )
        ours, *theirs = (scores(spent, clv) for clv in forecasts.values())
        measured = ours | {
            f"BG/NBD {k}": v for other in theirs for k, v in other.items()
        }
        mlflow.log_metrics(measured, model_id=model.model_id, dataset=dataset)
        mlflow.log_figure(figure(spent, forecasts), "holdout.png")
    line = "deviance {deviance:.2f}, Gini {Gini:.3f}, total {total error in percent:+.1f} %".format
    beside = "".join(f" (BG/NBD: {line(**other)})" for other in theirs)
    answer = composite.predict(customers.head()).round(2)
    report(model, f"{HORIZON:g} weeks ahead: {line(**ours)}{beside}", answer)


if __name__ == "__main__":
    main()
