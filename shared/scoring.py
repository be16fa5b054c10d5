"""What `make score-spark` does on the cluster: a model's answers beside the rows they belong to.

`mlflow.pyfunc.spark_udf` ends the job at the first bad row, and where a column of the answer is
null in some rows it writes the text "None", or False. So the same is done one level below it: the
model travels in MLflow's cache for Spark, and Spark's `mapInPandas` passes the rows.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

UNFIT = "_not_as_declared"  # where Spark keeps a CSV line whose cells don't fit the signature


def spark_type(column: Any) -> "DataType":
    """Return the Spark type of a signature's column; a column of any type is read as numbers."""
    from mlflow.types.schema import AnyType
    from pyspark.sql.types import DoubleType

    return DoubleType() if isinstance(column.type, AnyType) else column.type.to_spark()


def read(spark: "SparkSession", path: str, model: "Model") -> "DataFrame":
    """Return the rows of Parquet, or of a .csv with a header, typed as the signature says."""
    if not path.endswith(".csv"):
        rows = spark.read.parquet(path)  # pandas writes its index as a column too
        return rows.drop(*(name for name in rows.columns if name.startswith("__index_level_")))
    from pyspark.sql.types import StringType, StructType

    inputs = model.get_input_schema()
    types = {column.name: spark_type(column) for column in (inputs.inputs if inputs else [])}
    schema = StructType()
    for name in [*spark.read.csv(path, header=True).columns, UNFIT]:
        schema.add(name, types.get(name, StringType()))
    return spark.read.csv(path, schema=schema, header=True, columnNameOfCorruptRecord=UNFIT)


def answers(model: "PyFuncModel", rows: pd.DataFrame, params: Any) -> list[pd.DataFrame]:
    """Return the rows' answers in parts; what fails is halved until the rows at fault stand alone.

    Their part has one column, `_error`.
    """
    rows = rows.reset_index(drop=True)
    try:
        answer = pd.DataFrame(model.predict(rows, params=params)).assign(_error=None)
    except Exception as error:  # whatever the model says of this input
        if len(rows) == 1:
            return [pd.DataFrame({"_error": [str(error)]})]
        half = len(rows) // 2
        return [*answers(model, rows[:half], params), *answers(model, rows[half:], params)]
    if len(answer) != len(rows):
        raise ValueError(f"{len(rows)} rows in, {len(answer)} out: group the rows (GROUP_BY)")
    return [answer]


def opened(archive: str, services: dict[str, str]) -> "PyFuncModel":
    """Return the model in a worker, which also learns how this process reaches a service.

    As `spark_udf` does: in the function itself; Spark's settings are shown and logged.
    """
    from mlflow.pyfunc.spark_model_cache import SparkModelCache

    os.environ.update(services)
    return SparkModelCache.get_or_load(archive)[0]


def complete(answer: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the columns of the answer; missing ones hold None, for NaN is no text to Arrow."""
    return answer.assign(**{name: None for name in columns if name not in answer})[columns]


def score(
    spark: "SparkSession", rows: "DataFrame", path: str, params: Any = None, group_by: str = ""
) -> "DataFrame":
    """Return the rows with the answers of the model at `path` and `_error`, null where all is well.

    With `group_by`, for a model that reads its rows as one table: the answers for each group.
    """
    from mlflow.models import Model
    from mlflow.pyfunc.spark_model_cache import SparkModelCache
    from pyspark.sql.types import BinaryType, StringType, StructType

    model, answered = Model.load(path), StructType()
    for column in model.get_output_schema().inputs:
        answered.add(column.name, spark_type(column))
    answered.add("_error", StringType())
    if clash := set(answered.names) & set(rows.columns):
        raise LookupError(f"rename in the input, the model answers so too: {', '.join(clash)}")
    archive = SparkModelCache.add_local_model(spark, path)
    services = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}

    if group_by:
        if group_by not in rows.columns:
            raise LookupError(f"no column {group_by}; the input has {', '.join(rows.columns)}")

        def by_group(key: tuple[Any, ...], table: pd.DataFrame) -> pd.DataFrame:
            model = opened(archive, services)
            try:
                answer = pd.DataFrame(model.predict(table.drop(columns=group_by), params=params))
            except Exception as error:
                answer = pd.DataFrame({"_error": [str(error)]})
            answer[group_by] = key[0]
            return complete(answer, [group_by, *answered.names])

        schema = StructType([rows.schema[group_by], *answered])
        return rows.groupBy(group_by).applyInPandas(by_group, schema)

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
    kept = [name for name in rows.columns if name != UNFIT]

    def by_row(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        model = opened(archive, services)
        for batch in batches:
            if not len(batch):
                continue
            answer = pd.concat(answers(model, batch[columns], params), ignore_index=True)
            if UNFIT in batch:
                unfit = batch[UNFIT].notna()
                answer.loc[unfit] = None
                answer.loc[unfit, "_error"] = "not as the signature says: " + batch[UNFIT][unfit]
            yield batch[kept].join(complete(answer, answered.names))

    return rows.mapInPandas(by_row, StructType([*(rows.schema[name] for name in kept), *answered]))
