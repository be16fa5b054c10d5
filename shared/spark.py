"""Score files on Spark: the model's answers beside the rows.

    python -m shared.spark MODEL INPUT OUTPUT PARAMS GROUP_BY

SPARK_MASTER names the cluster; without it Spark runs on this machine's cores. Each
worker needs the model's packages in the Python that PYSPARK_PYTHON names (default: this
one).
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shared import CookbookError
from shared.processes import run_command, stop_on_term
from shared.recipes import WARNINGS, Recipe, newest_model
from shared.store import open_store

import mlflow
import pandas as pd
from mlflow.models import Model
from mlflow.types.schema import AnyType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

MISREAD = "_corrupt_record"  # where Spark puts a CSV row with a value of another type


def score_file(
    recipe: Recipe, source: str, target: str, params: str, group_by: str
) -> int:
    """Score Parquet or CSV with the newest model, beside its services, into Parquet."""
    if not (source and target):
        raise CookbookError("add INPUT=<Parquet or .csv> OUTPUT=<new Parquet folder>")
    uri = newest_model(recipe)
    plain = f'mlflow.pyfunc.spark_udf(spark, "{uri}", env_manager="local")'
    print(f"MLflow's own: {plain}", flush=True)
    command = [*recipe.service_command, sys.executable, *WARNINGS, "-m", "shared.spark"]
    return run_command([*command, uri, source, target, params, group_by])


def main(uri: str, source: str, target: str, params: str, group_by: str) -> int:
    """Score the file; say how many rows failed."""
    open_store()
    path = mlflow.artifacts.download_artifacts(uri)
    model = Model.load(path)
    given = read_params(model, params)
    spark = start_spark(uri)
    try:
        rows = read_rows(spark, source, model)
        score(spark, rows, path, given, group_by).write.parquet(target)
        written = spark.read.parquet(target)
        failed = written.filter("_error IS NOT NULL")
        count = failed.count()
        print(f"{written.count()} rows, {count} failed: {target}")
        return 1 if count else 0
    finally:
        spark.stop()


def read_params(model: Model, text: str) -> dict[str, Any] | None:
    """Return params out of JSON; CookbookError for one that MLflow would ignore."""
    schema = model.get_params_schema()
    known = [param.name for param in schema.params] if schema else []
    try:
        params = json.loads(text or "{}")
    except ValueError as error:
        raise CookbookError(f"PARAMS: {error}") from None
    if not isinstance(params, dict):
        raise CookbookError(f"PARAMS={text}: give a JSON object")
    if unknown := set(params) - set(known):
        raise CookbookError(f"no param {unknown}; the model's params: {known}")
    return params or None


def start_spark(name: str) -> "SparkSession":
    """Return a session on SPARK_MASTER, or on this machine's cores on loopback."""
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    master = os.environ.get("SPARK_MASTER") or "local[*]"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # The workers don't have `shared`: its functions travel with the job.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    builder = SparkSession.builder.master(master).appName(name)
    builder = builder.config("spark.log.level", "ERROR")
    return builder.config("spark.ui.enabled", "false").getOrCreate()


def spark_columns(schema: Any) -> "StructType":
    """Return a signature's columns as Spark's; a column of any type holds numbers."""
    from pyspark.sql.types import DoubleType, StructType

    columns = StructType()
    for column in schema.inputs:
        is_any = isinstance(column.type, AnyType)
        columns.add(column.name, DoubleType() if is_any else column.type.to_spark())
    return columns


def read_rows(spark: "SparkSession", path: str, model: Model) -> "DataFrame":
    """Return the rows of Parquet, or of CSV with a header typed by the signature."""
    from pyspark.sql.types import StructType

    if not path.endswith(".csv"):
        return spark.read.parquet(path)
    # As pandas and spreadsheets write it: a quote is doubled, a cell may hold lines.
    reader = spark.read.options(header=True, escape='"', multiLine=True)
    rows = reader.csv(path, inferSchema=True)
    inputs = model.get_input_schema()
    if inputs and inputs.has_input_names() and not is_agent(model):
        typed = {column.name: column for column in spark_columns(inputs)}
        columns = [typed.get(column.name, column) for column in rows.schema]
        schema = StructType(columns).add(MISREAD, "string")
        rows = reader.csv(path, schema=schema)
    # One task reads such a file; all cores are to score it.
    return rows.repartition(spark.sparkContext.defaultParallelism)


def is_agent(model: Model) -> bool:
    """Return whether the model is a ResponsesAgent."""
    return bool((model.metadata or {}).get("task") == "agent/v1/responses")


def read_reply(reply: dict[str, Any]) -> dict[str, Any]:
    """Return an agent's answer as a row: answer, cited, _error."""
    messages = [item for item in reply["output"] if item["type"] == "message"]
    parts = [part for message in messages for part in message["content"]]
    texts = [part for part in parts if part["type"] == "output_text"]
    reason = (reply.get("error") or {}).get("message")
    if not texts:
        return {"_error": reason or f"no text, status {reply.get('status')}"}
    notes = [note for text in texts for note in text.get("annotations") or []]
    cited = [note.get("title") or note["file_id"] for note in notes]
    answer = "".join(text["text"] for text in texts)
    return {"answer": answer, "cited": cited, "_error": reason}


def answer_questions(agent: Any, questions: pd.Series) -> pd.DataFrame:
    """Return an agent's answer to each question: answer, cited, _error."""
    rows = []
    for question in questions:
        request = {"input": [{"role": "user", "content": question}]}
        try:
            rows.append(read_reply(agent.predict(request)))
        except Exception as error:
            rows.append({"_error": str(error)})
    return pd.DataFrame(rows)


def answer_table(model: Any, rows: pd.DataFrame, params: Any) -> pd.DataFrame:
    """Return the model's one answer to a whole table, or the reason in `_error`."""
    try:
        if MISREAD in rows and rows[MISREAD].notna().any():
            line = rows[MISREAD].dropna().iloc[0]
            raise ValueError(f"a value isn't of its column's type: {line:.80}")
        table = rows.drop(columns=MISREAD, errors="ignore")
        return pd.DataFrame(model.predict(table, params=params))
    except Exception as error:  # whatever the model says of this input
        return pd.DataFrame({"_error": [str(error)]})


def answer_rows(model: Any, rows: pd.DataFrame, params: Any) -> pd.DataFrame:
    """Return an answer for each row, or the reason in `_error`.

    Rows that fail are halved until those at fault stand alone.
    """
    answers = answer_table(model, rows, params)
    if "_error" in answers and len(rows) > 1:
        middle = len(rows) // 2
        halves = rows[:middle], rows[middle:].reset_index(drop=True)
        answers = pd.concat([answer_rows(model, half, params) for half in halves])
    return answers


def read_columns(model: Model, given: list[str], group_by: str) -> list[str]:
    """Return the columns that the model reads; CookbookError if one isn't given."""
    inputs = model.get_input_schema()
    if is_agent(model):
        columns = needed = ["question"]
    elif inputs and inputs.has_input_names():
        columns = [*inputs.input_names(), MISREAD]
        needed = inputs.required_input_names()
    elif group_by:
        columns = needed = [column for column in given if column != group_by]
    else:
        raise CookbookError("this model reads a table: name its groups (GROUP_BY)")
    wanted = {*needed, group_by} if group_by else {*needed}
    if missing := wanted - set(given):
        raise CookbookError(f"no column {missing}; the input has {given}")
    return columns


def score(
    spark: "SparkSession",
    rows: "DataFrame",
    path: str,
    params: Any = None,
    group_by: str = "",
) -> "DataFrame":
    """Return the rows with the model's answers and `_error`, null where all is well.

    `path` is the model's folder. With `group_by`, for a model that reads its rows as
    one table: the answers for each group.
    """
    from mlflow.pyfunc.spark_model_cache import SparkModelCache
    from pyspark.sql.types import ArrayType, StringType, StructType

    model = Model.load(path)
    asks_agent = is_agent(model)
    columns = read_columns(model, rows.columns, group_by)
    outputs = model.get_output_schema()
    if asks_agent:
        texts = ArrayType(StringType())
        answer_type = StructType().add("answer", "string").add("cited", texts)
    elif outputs and outputs.has_input_names():
        answer_type = spark_columns(outputs)
    else:
        raise CookbookError("the model can't be scored: its signature names no outputs")
    answer_type = answer_type.add("_error", "string")
    archive = SparkModelCache.add_local_model(spark, path)
    # How this process reaches a service; not as Spark settings, which are logged.
    services = {k: v for k, v in os.environ.items() if k.startswith("OPENAI_")}

    def answer(table: pd.DataFrame) -> pd.DataFrame:
        os.environ.update(services)
        loaded = SparkModelCache.get_or_load(archive)[0]
        if asks_agent:
            answers = answer_questions(loaded, table["question"])
        elif group_by:
            answers = answer_table(loaded, table.filter(columns), params)
        else:
            answers = answer_rows(loaded, table.filter(columns), params)
        answers = answers.reindex(columns=answer_type.names).astype(object)
        return answers.where(answers.notna(), None)  # NaN is no text to Arrow

    def answer_group(key: tuple[Any, ...], table: pd.DataFrame) -> pd.DataFrame:
        return answer(table).assign(**{group_by: key[0]})

    def answer_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield pd.concat([batch, answer(batch).set_axis(batch.index)], axis=1)

    if group_by:
        group_type = StructType([*answer_type, rows.schema[group_by]])
        return rows.groupBy(group_by).applyInPandas(answer_group, group_type)
    if "binary" in {kind for _, kind in rows.dtypes}:  # 10,000 would fill the memory
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
    cores = spark.sparkContext.defaultParallelism
    if rows.rdd.getNumPartitions() < cores:
        rows = rows.repartition(cores)
    scored = StructType([*rows.schema, *answer_type])
    return rows.mapInPandas(answer_batches, scored).drop(MISREAD)


if __name__ == "__main__":
    from pyspark.errors import PySparkException

    stop_on_term()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        sys.exit(main(*sys.argv[1:]))
    except (CookbookError, mlflow.MlflowException, PySparkException) as error:
        sys.exit(str(error).splitlines()[0])
