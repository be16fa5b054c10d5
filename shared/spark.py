"""Score files on Spark: `make score-spark`, or python -m shared.spark --help.

SPARK_MASTER names the cluster; without it Spark runs on this machine's cores. Every worker needs
the model's packages in the Python that PYSPARK_PYTHON names (this one, if it is not set).
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared import scoring

if TYPE_CHECKING:
    from mlflow.models import Model
    from pyspark.sql import DataFrame, SparkSession

JAVA = "there is none; Debian: apt-get install openjdk-17-jre-headless (make system)"


def session(name: str) -> "SparkSession":
    """Return a session on SPARK_MASTER, or on this machine's cores, reachable on loopback only."""
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        raise click.ClickException(f"Spark needs Java 17 or later, and {JAVA}")
    master = os.environ.get("SPARK_MASTER") or "local[*]"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    cloudpickle.register_pickle_by_value(scoring)  # the workers don't have `shared`
    settings: dict[str, bool | float | int | str | None] = {
        "spark.log.level": "ERROR",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "true",
    }
    return SparkSession.builder.master(master).appName(name).config(map=settings).getOrCreate()


def read(spark: "SparkSession", path: str, model: "Model") -> "DataFrame":
    """Return the rows of Parquet, or of a .csv with a header, typed as the signature says."""
    if not path.endswith(".csv"):
        rows = spark.read.parquet(path)  # pandas writes its index as a column too
        return rows.drop(*(name for name in rows.columns if name.startswith("__index_level_")))
    from pyspark.sql.types import StringType, StructType

    inputs = model.get_input_schema()
    types = {
        column.name: scoring.spark_type(column) for column in (inputs.inputs if inputs else [])
    }
    schema = StructType()
    for name in [*spark.read.csv(path, header=True).columns, scoring.UNFIT]:
        schema.add(name, types.get(name, StringType()))
    return spark.read.csv(path, schema=schema, header=True, columnNameOfCorruptRecord=scoring.UNFIT)


def checked(model: "Model", params: str) -> dict[str, Any] | None:
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


@click.command()
@click.argument("model_uri")
@click.argument("source")
@click.argument("target")
@click.option("--params", default="{}", help="the model's params, as JSON")
@click.option("--group-by", default="", help="the column that tells apart tables scored as a whole")
def main(model_uri: str, source: str, target: str, params: str, group_by: str) -> None:
    """Score Parquet or CSV at SOURCE with MODEL_URI; write Parquet to TARGET."""
    import mlflow
    from pyspark.errors import AnalysisException

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # spark_udf recommends conda

    if not (source and target):
        raise click.UsageError("add INPUT=<Parquet or .csv> OUTPUT=<new Parquet folder>")
    if Path(target).exists():  # before Spark takes its time to start
        raise click.ClickException(f"{target} already exists; name another OUTPUT")
    start = time.perf_counter()
    spark = None
    try:
        path = mlflow.artifacts.download_artifacts(model_uri)
        model = mlflow.models.Model.load(path)
        given = checked(model, params)
        spark = session(model_uri)
        rows = read(spark, source, model)
        with tempfile.TemporaryDirectory() as folder:
            scored = scoring.score(spark, rows, path, folder, given, group_by)
            scored.write.parquet(target)
        done = spark.read.parquet(target)
        count, failed = done.count(), done.filter("_error IS NOT NULL")
        bad = failed.count()
        print(f"{count} rows in {time.perf_counter() - start:.0f} s, {bad} failed: {target}")
        for row in failed.limit(3).collect():
            print(f"  {row}")
    except (LookupError, AnalysisException, mlflow.MlflowException) as error:
        raise click.ClickException(str(error).splitlines()[0]) from None
    finally:
        if spark:
            spark.stop()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
