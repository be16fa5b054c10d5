"""What `make score-spark` does on the cluster: a model's answers beside the rows they belong to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.models import Model, ModelSignature

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

UNFIT = "_not_as_declared"  # where Spark keeps a CSV line whose cells don't fit the signature
ANSWER = "_answer"


def spark_type(column: Any) -> "DataType":
    """Return the Spark type of a signature's column; a column of any type is read as numbers."""
    from mlflow.types.schema import AnyType
    from pyspark.sql.types import DoubleType

    return DoubleType() if isinstance(column.type, AnyType) else column.type.to_spark()


def score(
    spark: "SparkSession",
    rows: "DataFrame",
    path: str,
    folder: str,
    params: dict[str, Any] | None = None,
    group_by: str = "",
) -> "DataFrame":
    """Return the rows with the answers of the model at `path` and `_error`, null where all is well.

    With `group_by`, for a model that reads its rows as one table: the answers for each group.
    `folder` is empty and must last until the answers were written.
    """
    from pyspark.sql.types import StringType, StructType

    model, answered = Model.load(path), StructType()
    for column in model.get_output_schema().inputs:
        answered.add(column.name, spark_type(column))
    answered.add("_error", StringType())
    if clash := {*answered.names, ANSWER} & set(rows.columns):
        raise LookupError(f"rename in the input, the model answers so too: {', '.join(clash)}")
    # How this process reaches a service; not as Spark settings, which are shown and logged.
    services = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
    if group_by:
        return by_group(spark, rows, path, answered, services, params, group_by)
    guard = guarded(model, path, folder)
    return by_row(spark, rows, model, guard, answered, services, params)


def guarded(model: Model, path: str, folder: str) -> str:
    """Save the model inside a guard (guard.py), whose rows fail alone; return where."""
    mlflow.pyfunc.save_model(
        f"{folder}/guard",
        python_model=Path(__file__).with_name("guard.py"),
        artifacts={"model": path},
        pip_requirements=f"{path}/requirements.txt",
    )
    if params := model.get_params_schema():
        mlflow.models.set_signature(f"{folder}/guard", ModelSignature(params=params))
    return f"{folder}/guard"


def by_row(
    spark: "SparkSession",
    rows: "DataFrame",
    model: Model,
    guard: str,
    answered: "StructType",
    services: dict[str, str],
    params: dict[str, Any] | None,
) -> "DataFrame":
    """Return the rows, each with its answer, through `spark_udf`."""
    from pyspark.sql.functions import col, concat, from_json, lit, struct, when
    from pyspark.sql.types import BinaryType

    inputs = model.get_input_schema()
    if not inputs or not inputs.has_input_names():
        raise LookupError("this model reads its rows as one table: name its groups (GROUP_BY)")
    columns = [name for name in inputs.input_names() if name in rows.columns]
    if not columns or not set(inputs.required_input_names()) <= set(columns):
        needed = ", ".join(inputs.required_input_names() or inputs.input_names())
        raise LookupError(f"needed: {needed}; the input has {', '.join(rows.columns)}")
    if any(isinstance(rows.schema[name].dataType, BinaryType) for name in columns):
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")  # or memory is short
    if rows.rdd.getNumPartitions() < spark.sparkContext.defaultParallelism:
        rows = rows.repartition(spark.sparkContext.defaultParallelism)

    predict = mlflow.pyfunc.spark_udf(
        spark,
        guard,
        result_type="string",
        env_manager="local",
        params=params,
        extra_env=services,
    )
    quoted = {name: col(f"`{name.replace('`', '``')}`") for name in rows.columns}
    text = predict(struct(*(quoted[name].alias(name) for name in columns)))
    scored = rows.withColumn(ANSWER, from_json(text, answered))
    answers = {name: col(ANSWER).getField(name) for name in answered.names}
    if UNFIT in rows.columns:
        unfit = quoted.pop(UNFIT)
        answers = {name: when(unfit.isNull(), value) for name, value in answers.items()}
        said = concat(lit("not as the signature says: "), unfit)
        answers["_error"] = answers["_error"].otherwise(said)
    return scored.select(*quoted.values(), *(v.alias(name) for name, v in answers.items()))


def by_group(
    spark: "SparkSession",
    rows: "DataFrame",
    path: str,
    answered: "StructType",
    services: dict[str, str],
    params: dict[str, Any] | None,
    group_by: str,
) -> "DataFrame":
    """Return the answers for each group of rows, through Spark's `applyInPandas`."""
    from mlflow.pyfunc.spark_model_cache import SparkModelCache
    from pyspark.sql.types import StructType

    if group_by not in rows.columns:
        raise LookupError(f"no column {group_by}; the input has {', '.join(rows.columns)}")
    archive = SparkModelCache.add_local_model(spark, path)
    names = [group_by, *answered.names]

    def answer(key: tuple[Any, ...], table: pd.DataFrame) -> pd.DataFrame:
        os.environ.update(services)
        model = SparkModelCache.get_or_load(archive)[0]
        try:
            found = pd.DataFrame(model.predict(table.drop(columns=group_by), params=params))
        except Exception as error:  # whatever the model says of this table
            found = pd.DataFrame({"_error": [str(error)]})
        found[group_by] = key[0]
        # What is missing holds None, for NaN is no text to Arrow.
        return found.assign(**{name: None for name in names if name not in found})[names]

    schema = StructType([rows.schema[group_by], *answered])
    return rows.groupBy(group_by).applyInPandas(answer, schema)
