"""When Spark pays: rows a second in one process and through Spark."""

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.spark import score, start_spark

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from benchmarks.report import Rows, compare, interleave, publish
from recipes.circle_area.driver import HERE

COSTLY = """
import math
import mlflow
import pandas as pd

class Costly(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        slow = lambda x: sum(math.sin(x * k) for k in range(2000))
        return pd.DataFrame({"area": [slow(x) for x in model_input["diameter"]]})

mlflow.models.set_model(Costly())
"""
X, Y = (Schema([ColSpec("double", name)]) for name in ("diameter", "area"))
SIGNATURE = ModelSignature(X, Y)


def rivals(spark: Any, folder: Path, code: Path, rows: int) -> Rows:
    """Return rows per second for one model: Parquet in, Parquet out, each way."""
    model = str(folder / f"model-{rows}")
    mlflow.pyfunc.save_model(
        model, python_model=code, signature=SIGNATURE, pip_requirements=[]
    )
    source, target = str(folder / f"{rows}.parquet"), str(folder / "out.parquet")
    values = np.random.default_rng(0).uniform(0, 100, rows)
    pd.DataFrame({"diameter": values}).to_parquet(source)
    loaded = mlflow.pyfunc.load_model(model)

    def alone() -> None:
        table = pd.read_parquet(source)
        table.join(loaded.predict(table)).to_parquet(folder / "alone.parquet")

    def ours() -> None:
        scored = score(spark, spark.read.parquet(source), model)
        scored.write.mode("overwrite").parquet(target)

    def udf() -> None:
        area = mlflow.pyfunc.spark_udf(spark, model, "struct<area: double>")
        cores = spark.sparkContext.defaultParallelism
        table = spark.read.parquet(source).repartition(cores)
        scored = table.withColumn("answer", area("diameter"))
        scored.write.mode("overwrite").parquet(target)

    ways = {"one process": alone, "make score-spark": ours, "spark_udf": udf}
    rates = rows / interleave(ways, 3)
    ratio = "rate relative to one process"
    compared = compare(rates, "way", "rows/s", "one process", ratio)
    return [{"rows": rows} | row for row in compared]


if __name__ == "__main__":
    # spark_udf warns of its environment
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    start = time.perf_counter()
    spark = start_spark("benchmark")
    spark.range(1).count()
    started = {"starting Spark, s": time.perf_counter() - start}
    with tempfile.TemporaryDirectory() as name:
        (costly := Path(name) / "costly.py").write_text(COSTLY)
        formula = rivals(spark, Path(name), HERE / "model_code.py", 1_000_000)
        slow = rivals(spark, Path(name), costly, 40_000)
    spark.stop()
    tables = {"A formula in NumPy: circle_area": formula}
    tables["A loop of 2,000 sines in Python for each row"] = slow
    tables[f"Before the first row, on {os.cpu_count()} cores"] = [started]
    publish("spark", tables, ["recipes/circle_area/model_code.py", "shared/spark.py"])
