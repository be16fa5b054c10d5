"""Score files on Spark, as `make score-spark` does: the model's answers beside the rows.

SPARK_MASTER names the cluster; without it Spark runs on this machine's cores. Every worker needs
the model's packages in the Python that PYSPARK_PYTHON names (this one, if it is not set).
"""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.recipes import WARNINGS, Recipe, leave
from shared.servers import run
from shared.store import checked_copy, newest_model, open_store

import mlflow
import pandas as pd
from mlflow.models import Model
from mlflow.types import ColSpec, Schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

QUESTION = "question"  # the column that an agent is asked
UNFIT = "_not_as_declared"  # where Spark keeps a CSV line whose cells don't fit the signature


def session(name: str) -> "SparkSession":
    """Return a session on SPARK_MASTER, or on this machine's cores, reachable on loopback only."""
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        raise LookupError(
            "Spark needs Java 17 or later, and there is none; Debian: make system"
        )
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    master = os.environ.get("SPARK_MASTER") or "local[*]"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    cloudpickle.register_pickle_by_value(
        sys.modules[__name__]
    )  # the workers don't have `shared`
    quiet: dict[str, Any] = {"spark.log.level": "ERROR", "spark.ui.enabled": "false"}
    return (
        SparkSession.builder.master(master)
        .appName(name)
        .config(map=quiet)
        .getOrCreate()
    )


def struct(schema: Any) -> "StructType":
    """Return a signature's columns as Spark's; a column of any type is read as numbers."""
    from mlflow.types.schema import AnyType
    from pyspark.sql.types import DoubleType, StructType

    fields = StructType()
    for column in schema.inputs:
        any_type = isinstance(column.type, AnyType)
        fields.add(column.name, DoubleType() if any_type else column.type.to_spark())
    return fields


def read(spark: "SparkSession", path: str, model: Model) -> "DataFrame":
    """Return the rows of Parquet, or of a .csv with a header, typed as the signature says."""
    from pyspark.sql.types import StringType, StructType

    if not path.endswith(".csv"):
        rows = spark.read.parquet(path)  # pandas writes its index as a column too
        return rows.drop(
            *(name for name in rows.columns if name.startswith("__index_level_"))
        )
    inputs = model.get_input_schema()
    named = inputs and inputs.has_input_names()
    types = {field.name: field.dataType for field in struct(inputs)} if named else {}
    schema = StructType()
    for name in [*spark.read.csv(path, header=True).columns, UNFIT]:
        schema.add(name, types.get(name, StringType()))
    return spark.read.csv(
        path, schema=schema, header=True, columnNameOfCorruptRecord=UNFIT
    )


def checked(model: Model, text: str) -> dict[str, Any] | None:
    """Return params out of JSON; LookupError for one that MLflow would leave out, unknown."""
    schema = model.get_params_schema()
    known = [param.name for param in schema.params] if schema else []
    try:
        given = dict(json.loads(text or "{}"))
    except (TypeError, ValueError):
        raise LookupError(
            'PARAMS is no object in JSON, such as {"alpha": 0.01}'
        ) from None
    if unknown := sorted(given.keys() - set(known)):
        has = f"its params: {', '.join(known)}" if known else "it has none"
        raise LookupError(f"the model has no param {', '.join(unknown)}; {has}")
    return given or None


def replies(agent: Any, questions: pd.Series) -> pd.DataFrame:
    """Return what an agent answers to each question, asked alone: a table has it read one row."""
    found: list[dict[str, Any]] = []
    for question in questions:
        try:
            asked = {"input": [{"role": "user", "content": question}]}
            reply = agent.predict(asked)
            (said,) = (part for item in reply["output"] for part in item["content"])
        except Exception as error:
            found.append({"_error": str(error)})
            continue
        cited = [note.get("title") or note["file_id"] for note in said["annotations"]]
        failed = reply.get("error") or {}
        found.append(
            {"answer": said["text"], "cited": cited, "_error": failed.get("message")}
        )
    return pd.DataFrame(found)


def answers(
    model: Any, rows: pd.DataFrame, params: Any, table: bool = False
) -> pd.DataFrame:
    """Return an answer for each row, or the reason in `_error`; for a table, its one answer.

    Rows that fail are halved until those at fault stand alone.
    """
    try:
        found = pd.DataFrame(model.predict(rows, params=params)).astype(object)
    except Exception as error:  # whatever the model says of this input
        if table or len(rows) == 1:
            return pd.DataFrame({"_error": [str(error)]})
        half = len(rows) // 2
        parts = rows[:half], rows[half:].reset_index(drop=True)
        return pd.concat(
            [answers(model, part, params) for part in parts], ignore_index=True
        )
    if len(found) != len(rows) and not table:
        raise ValueError(
            f"{len(rows)} rows in, {len(found)} out: group the rows (GROUP_BY)"
        )
    return found.reset_index(drop=True)


def score(
    spark: "SparkSession",
    rows: "DataFrame",
    path: str,
    params: Any = None,
    group_by: str = "",
) -> "DataFrame":
    """Return the rows with the answers of the model at `path` and `_error`, null where all is well.

    With `group_by`, for a model that reads its rows as one table: the answers for each group.
    """
    from mlflow.pyfunc.spark_model_cache import SparkModelCache
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, BinaryType, StringType, StructType

    model = Model.load(path)
    agent = "agent" in str((model.metadata or {}).get("task"))
    own = StructType().add("answer", StringType()).add("cited", ArrayType(StringType()))
    answered = (own if agent else struct(model.get_output_schema())).add(
        "_error", StringType()
    )
    if clash := set(answered.names) & set(rows.columns):
        raise LookupError(
            f"rename in the input, the model answers so too: {', '.join(clash)}"
        )
    if group_by and group_by not in rows.columns:
        raise LookupError(
            f"no column {group_by}; the input has {', '.join(rows.columns)}"
        )
    # How this process reaches a service; not as Spark settings, which are shown and logged.
    services = {
        name: value for name, value in os.environ.items() if name.startswith("OPENAI_")
    }
    archive = SparkModelCache.add_local_model(spark, path)

    def ask(table: pd.DataFrame, whole: bool) -> pd.DataFrame:
        os.environ.update(services)
        loaded = SparkModelCache.get_or_load(archive)[0]
        found = (
            replies(loaded, table[QUESTION])
            if agent
            else answers(loaded, table, params, whole)
        )
        found = found.reindex(columns=answered.names).astype(object)
        return found.where(found.notna(), None)  # NaN is no text to Arrow

    def by_group(key: tuple[Any, ...], table: pd.DataFrame) -> pd.DataFrame:
        return ask(table.drop(columns=group_by), whole=True).assign(
            **{group_by: key[0]}
        )

    if group_by:
        schema = StructType([*answered, rows.schema[group_by]])
        return rows.groupBy(group_by).applyInPandas(by_group, schema)

    def by_row(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            found = ask(batch[columns], whole=False)
            if UNFIT in batch:
                found[batch[UNFIT].notna()] = None
                said = "not as the signature says: " + batch[UNFIT]
                found["_error"] = said.fillna(found["_error"])
            yield found

    inputs = (
        Schema([ColSpec("string", QUESTION)]) if agent else model.get_input_schema()
    )
    if not inputs or not inputs.has_input_names():
        raise LookupError(
            "this model reads its rows as one table: name its groups (GROUP_BY)"
        )
    columns = [name for name in inputs.input_names() if name in rows.columns]
    if not columns or not set(inputs.required_input_names()) <= set(columns):
        wanted = ", ".join(
            map(str, inputs.required_input_names() or inputs.input_names())
        )
        raise LookupError(f"needed: {wanted}; the input has {', '.join(rows.columns)}")
    if any(isinstance(rows.schema[name].dataType, BinaryType) for name in columns):
        spark.conf.set(
            "spark.sql.execution.arrow.maxRecordsPerBatch", "64"
        )  # or memory is short
    if rows.rdd.getNumPartitions() < spark.sparkContext.defaultParallelism:
        rows = rows.repartition(spark.sparkContext.defaultParallelism)
    given = f.struct(*columns, *{UNFIT} & {*rows.columns})
    udf: Any = f.pandas_udf  # its types know no function of batches
    answer = udf(by_row, answered)(given)
    return (
        rows.withColumn("_answer", answer)
        .select("*", "_answer.*")
        .drop("_answer", UNFIT)
    )


def score_file(
    recipe: Recipe, source: str, target: str, params: str, group_by: str
) -> int:
    """Score Parquet or CSV at `source` with the recipe's newest model; write Parquet to `target`.

    What the model needs around it is brought up first, around a process that does the rest.
    """
    if not (source and target):
        raise LookupError("add INPUT=<Parquet or .csv> OUTPUT=<new Parquet folder>")
    if Path(target).exists():  # before Spark takes its time to start
        raise LookupError(f"{target} already exists; name another OUTPUT")
    child = [*recipe.runs_with, sys.executable, *WARNINGS, "-m", "shared.spark"]
    return run([*child, newest_model(recipe), source, target, params, group_by])


def main(uri: str, source: str, target: str, params: str, group_by: str) -> int:
    """Score the file; say how many rows failed, and show three of them."""
    from pyspark.errors import AnalysisException

    start = time.perf_counter()
    open_store()
    with tempfile.TemporaryDirectory() as folder:
        path = str(checked_copy(uri, folder))
        model = Model.load(path)
        given, spark = checked(model, params), session(uri)
        try:
            score(
                spark, read(spark, source, model), path, given, group_by
            ).write.parquet(target)
            done = spark.read.parquet(target)
            count, failed = done.count(), done.filter("_error IS NOT NULL")
            bad = failed.count()
            print(
                f"{count} rows in {time.perf_counter() - start:.0f} s, {bad} failed: {target}"
            )
            for row in failed.limit(3).collect():
                print(f"  {row}")
            return int(bad > 0)
        except AnalysisException as error:
            raise LookupError(str(error).splitlines()[0]) from None
        finally:
            spark.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        sys.exit(main(*sys.argv[1:]))
    except (LookupError, mlflow.MlflowException) as error:
        sys.exit(str(error))
