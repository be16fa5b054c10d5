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

import mlflow
import pandas as pd
import pyarrow as pa
from mlflow.models import Model

from shared.recipes import WARNINGS, Recipe
from shared.servers import run
from shared.store import checked_copy, newest_model, open_store

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType

JAVA = "Spark needs Java 17 or later, and there is none; Debian: make system"
UNFIT = "_not_as_declared"  # where Spark keeps a CSV line whose cells don't fit the signature


def session(name: str) -> "SparkSession":
    """Return a session on SPARK_MASTER, or on this machine's cores, reachable on loopback only."""
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        raise LookupError(JAVA)
    master = os.environ.get("SPARK_MASTER") or "local[*]"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers don't have `shared`
    quiet = {"spark.log.level": "ERROR", "spark.ui.enabled": "false"}
    return SparkSession.builder.master(master).appName(name).config(map=quiet).getOrCreate()


def spark_type(column: Any) -> "DataType":
    """Return the Spark type of a signature's column; a column of any type is read as numbers."""
    from mlflow.types.schema import AnyType
    from pyspark.sql.types import DoubleType

    return DoubleType() if isinstance(column.type, AnyType) else column.type.to_spark()


def read(spark: "SparkSession", path: str, model: Model) -> "DataFrame":
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


def checked(model: Model, params: str) -> dict[str, Any] | None:
    """Return the model's params out of JSON; LookupError for a name that it doesn't know.

    MLflow leaves unknown params out with no more than a warning.
    """
    try:
        given = json.loads(params or "{}")
    except json.JSONDecodeError as error:
        raise LookupError(f"PARAMS is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise LookupError(f'PARAMS is an object, e.g. {{"alpha": 0.01}}, not {given!r}')
    schema = model.get_params_schema()
    known = [param.name for param in schema.params] if schema else []
    if unknown := sorted(set(given) - set(known)):
        has = f"its params: {', '.join(known)}" if known else "it has none"
        raise LookupError(f"the model has no param {', '.join(unknown)}; {has}")
    return given or None


def answers(model: Any, rows: pd.DataFrame, params: Any) -> pd.DataFrame:
    """Return an answer for each row; what fails is halved until the rows at fault stand alone."""
    try:
        answer = pd.DataFrame(model.predict(rows, params=params)).astype(object)
    except Exception as error:  # whatever the model says of this input
        if len(rows) == 1:
            return pd.DataFrame({"_error": [str(error)]})
        half = len(rows) // 2
        parts = rows[:half], rows[half:].reset_index(drop=True)
        return pd.concat([answers(model, part, params) for part in parts], ignore_index=True)
    if len(answer) != len(rows):
        raise ValueError(f"{len(rows)} rows in, {len(answer)} out: group the rows (GROUP_BY)")
    return answer.reset_index(drop=True)


def score(
    spark: "SparkSession", rows: "DataFrame", path: str, params: Any = None, group_by: str = ""
) -> "DataFrame":
    """Return the rows with the answers of the model at `path` and `_error`, null where all is well.

    With `group_by`, for a model that reads its rows as one table: the answers for each group.
    """
    from mlflow.pyfunc.spark_model_cache import SparkModelCache
    from pyspark.sql.pandas.types import to_arrow_schema
    from pyspark.sql.types import BinaryType, StringType, StructType

    model, answered = Model.load(path), StructType()
    for column in model.get_output_schema().inputs:
        answered.add(column.name, spark_type(column))
    answered.add("_error", StringType())
    if clash := set(answered.names) & set(rows.columns):
        raise LookupError(f"rename in the input, the model answers so too: {', '.join(clash)}")
    # How this process reaches a service; not as Spark settings, which are shown and logged.
    services = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
    archive = SparkModelCache.add_local_model(spark, path)

    def load() -> Any:
        os.environ.update(services)
        return SparkModelCache.get_or_load(archive)[0]

    def whole(found: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        """What is missing is None: NaN is no text to Arrow, and a number where it is written."""
        found = found.reindex(columns=names).astype(object)
        return found.where(found.notna(), None)

    if group_by:
        if group_by not in rows.columns:
            raise LookupError(f"no column {group_by}; the input has {', '.join(rows.columns)}")

        def by_group(key: tuple[Any, ...], table: pd.DataFrame) -> pd.DataFrame:
            try:
                table = table.drop(columns=group_by)
                found = pd.DataFrame(load().predict(table, params=params))
            except Exception as error:  # whatever the model says of this table
                found = pd.DataFrame({"_error": [str(error)]})
            return whole(found.assign(**{group_by: key[0]}), [group_by, *answered.names])

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

    types = to_arrow_schema(answered)

    def by_row(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows stay in Arrow: pandas would make floats of whole numbers with gaps."""
        for batch in batches:
            found = answers(load(), batch.select(columns).to_pandas(), params)
            if UNFIT in batch.schema.names:
                unfit = batch.column(UNFIT).to_pandas()
                found[unfit.notna()] = None
                said = "not as the signature says: " + unfit
                found["_error"] = said.where(unfit.notna(), found.get("_error"))
            found = whole(found, answered.names)
            fresh = [pa.array(found[field.name], field.type) for field in types]
            old = [batch.column(name) for name in kept]
            yield pa.RecordBatch.from_arrays([*old, *fresh], names=[*kept, *answered.names])

    return rows.mapInArrow(by_row, StructType([*(rows.schema[name] for name in kept), *answered]))


def score_file(recipe: Recipe, source: str, target: str, params: str, group_by: str) -> int:
    """Score Parquet or CSV at `source` with the recipe's newest model; write Parquet to `target`.

    What the model needs around it is brought up first, around a process that does the rest.
    """
    if not (source and target):
        raise LookupError("add INPUT=<Parquet or .csv> OUTPUT=<new Parquet folder>")
    if Path(target).exists():  # before Spark takes its time to start
        raise LookupError(f"{target} already exists; name another OUTPUT")
    uri = newest_model(recipe)
    child = [*recipe.runs_with, sys.executable, *WARNINGS, "-m", "shared.spark"]
    return run([*child, uri, source, target, params, group_by])


def main(uri: str, source: str, target: str, params: str, group_by: str) -> int:
    from pyspark.errors import AnalysisException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    start, spark = time.perf_counter(), None
    try:
        open_store()
        with tempfile.TemporaryDirectory() as folder:
            path = str(checked_copy(uri, folder))
            model = Model.load(path)
            given = checked(model, params)
            spark = session(uri)
            scored = score(spark, read(spark, source, model), path, given, group_by)
            scored.write.parquet(target)
        done = spark.read.parquet(target)
        count, failed = done.count(), done.filter("_error IS NOT NULL")
        bad = failed.count()
        print(f"{count} rows in {time.perf_counter() - start:.0f} s, {bad} failed: {target}")
        for row in failed.limit(3).collect():
            print(f"  {row}")
        return int(bad > 0)
    except (LookupError, AnalysisException, mlflow.MlflowException) as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return 1
    finally:
        if spark:
            spark.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(*sys.argv[1:]))
