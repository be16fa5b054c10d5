"""Train three models on CDNOW, log each, log their composite, and predict once.

python recipes/clv_composite/driver.py
"""

from collections.abc import Callable
from pathlib import Path

import baselines
import cdnow
import components
import evaluation
import mlflow
import pandas as pd
from customers import customer_table, outcomes, training_rows
from mlflow.entities import LoggedModelInput
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import AnyType, ColSpec, DataType, ParamSchema, ParamSpec, Schema
from model_code import COLUMNS, features

from shared.run import recipe_run, report

HERE = Path(__file__).parent
REQUIREMENTS = str(HERE / "requirements.txt")  # a composite inherits none: one list for all four
CUTOFF, HORIZON = pd.Timestamp("1997-09-30"), 39.0  # weeks; the split of the papers
SNAPSHOTS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the time observed, see training_rows

# Counts come as whole numbers or floats: `double` takes no int64, and `long` would cut 1.5 to 1 in
# a request. A column of any type arrives as it was sent, and the model itself checks it.
COUNTS = ("frequency", "orders_4w", "orders_13w")
OUTPUTS = ("clv", "expected_purchases", "aov", "p_return", "horizon_weeks")
SIGNATURE = ModelSignature(
    inputs=Schema(
        [ColSpec(AnyType() if name in COUNTS else DataType.double, name) for name in COLUMNS]
    ),
    outputs=Schema([ColSpec(DataType.double, name) for name in OUTPUTS]),
    params=ParamSchema([ParamSpec("horizon_weeks", DataType.double, HORIZON)]),
)


def log_retention(x: pd.DataFrame, rows: pd.DataFrame) -> ModelInfo:
    """Log weeks to the next order: lifelines has no flavor, so this too is a model from code."""
    with recipe_run(__file__, __doc__, "retention"):
        fitted, measures = components.fit_retention(x, rows)
        mlflow.log_metrics(measures)
        mlflow.log_dict(fitted, "fitted.json")
        return mlflow.pyfunc.log_model(
            name="retention",
            python_model=HERE / "retention_model.py",
            artifacts={"fitted": mlflow.get_artifact_uri("fitted.json")},
            signature=infer_signature(x, pd.DataFrame({"location": [0.0], "scale": [1.0]})),
            input_example=x.head(),
            pip_requirements=REQUIREMENTS,
            registered_model_name="clv_retention",
        )


def log_regression(name: str, fit: Callable, x: pd.DataFrame, rows: pd.DataFrame) -> ModelInfo:
    """Log a scikit-learn model; MLflow saves it with skops, so that no pickle is ever loaded."""
    with recipe_run(__file__, __doc__, name):
        model, measures = fit(x, rows)
        mlflow.log_metrics(measures)
        return mlflow.sklearn.log_model(
            model,
            name=name,
            signature=infer_signature(x, model.predict(x[:5])),
            input_example=x.head(),
            pip_requirements=REQUIREMENTS,
            registered_model_name=f"clv_{name}",
        )


def main() -> None:
    transactions = cdnow.load()
    rows = training_rows(transactions, CUTOFF, SNAPSHOTS)
    x, once, back, paid = features(rows), rows["once"], rows["returned"], rows["value"] > 0
    parts = {
        "retention": log_retention(x[once], rows[once]),
        "frequency": log_regression("frequency", components.fit_frequency, x[back], rows[back]),
        "aov": log_regression("aov", components.fit_order_value, x[paid], rows[paid]),
    }

    customers = customer_table(transactions, CUTOFF)
    example = customers.head()
    with recipe_run(__file__, __doc__) as run:
        mlflow.log_params({"cutoff": CUTOFF.date(), "horizon_weeks": HORIZON, "at": SNAPSHOTS})
        # Pinned by id, not by a name or alias that may move; the files are copied in.
        model = mlflow.pyfunc.log_model(
            name="clv_composite",
            python_model=HERE / "model_code.py",
            artifacts={name: part.model_uri for name, part in parts.items()},
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=REQUIREMENTS,
        )
        # The copy records no lineage by itself.
        lineage = [LoggedModelInput(part.model_id) for part in parts.values()]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)

        composite = mlflow.pyfunc.load_model(model.model_uri)
        spent = outcomes(transactions, customers.index, CUTOFF, HORIZON)["value"]
        forecasts = {
            "composite": composite.predict(customers)["clv"],
            "BG/NBD + Gamma-Gamma": baselines.predict(customers, HORIZON)["clv"],
        }
        ours, theirs = (evaluation.scores(spent, clv) for clv in forecasts.values())
        mlflow.log_metrics(ours | {f"bgnbd_{name}": score for name, score in theirs.items()})
        mlflow.log_figure(evaluation.figure(spent, forecasts), "holdout.png")
    line = "deviance {deviance:.2f}, Gini {gini:.3f}, total {total_error_pct:+.1f} %".format
    report(
        model,
        headline=f"39 weeks ahead: {line(**ours)} (BG/NBD: {line(**theirs)})",
        prediction=composite.predict(example).round(2),
    )


if __name__ == "__main__":
    main()
