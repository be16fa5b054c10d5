"""When Spark pays: rows per second in one process and on this machine's cores through Spark.

python -m benchmarks.spark      (make .venv/.spark brings pyspark; Java 17 is needed)
"""

import logging
import os
import tempfile
import textwrap
import time
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema

from benchmarks.report import Rows, interleave, publish
from recipes.circle_area.driver import HERE
from shared.spark import score, session

# Work that pandas can't vectorise: 0.2 ms in Python for each row.
COSTLY = textwrap.dedent(
    """
    import math
    import mlflow
    import pandas as pd

    class Costly(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
            def slow(x):
                return sum(math.sin(x * k) for k in range(2000))

            return pd.DataFrame({"area": [slow(x) for x in model_input["diameter"]]})

    mlflow.models.set_model(Costly())
    """
)
SIGNATURE = ModelSignature(
    Schema([ColSpec("double", "diameter")]), Schema([ColSpec("double", "area")])
)


def rivals(spark: Any, folder: Path, code: Path, rows: int, rounds: int) -> Rows:
    """Return rows per second for one model: Parquet in, Parquet out, each way."""
    model = folder / f"model-{code.parent.name}"
    mlflow.pyfunc.save_model(
        model,
        python_model=code,
        signature=SIGNATURE,
        input_example=pd.DataFrame({"diameter": [1.0]}),
        pip_requirements=[],
    )
    source, target = folder / f"{rows}.parquet", folder / "out.parquet"
    values = np.random.default_rng(0).uniform(0, 100, rows)
    pd.DataFrame({"diameter": values}).to_parquet(source)
    loaded = mlflow.pyfunc.load_model(str(model))

    def alone() -> None:
        table = pd.read_parquet(source)
        table.join(loaded.predict(table)).to_parquet(folder / "alone.parquet")

    def ours() -> None:
        scored = score(spark, spark.read.parquet(str(source)), str(model))
        scored.write.mode("overwrite").parquet(str(target))

    def udf() -> None:
        area = mlflow.pyfunc.spark_udf(spark, str(model), "struct<area: double>")
        table = spark.read.parquet(str(source)).repartition(spark.sparkContext.defaultParallelism)
        table.withColumn("answer", area("diameter")).write.mode("overwrite").parquet(str(target))

    seconds = interleave({"one process": alone, "make score-spark": ours, "spark_udf": udf}, rounds)
    return [
        {
            "rows": rows,
            "way": way,
            "rows/s": round(rows / time),
            "times one process": seconds["one process"] / time,
        }
        for way, time in seconds.items()
    ]


def size(package: str) -> int:
    """Return the bytes of an installed package."""
    return sum(file.size or 0 for file in files(package) or [])


def main() -> None:
    if not find_spec("pyspark"):
        print("not measured, pyspark is missing: make .venv/.spark")
        return
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # spark_udf warns of its environment
    start = time.perf_counter()
    spark = session("benchmark")
    spark.range(1).count()
    started = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "costly").mkdir()
        costly = folder / "costly" / "model_code.py"
        costly.write_text(COSTLY)
        tables = {
            "A formula in NumPy: circle_area": rivals(
                spark, folder, HERE / "model_code.py", 1_000_000, 3
            ),
            "0.2 ms of Python for each row": rivals(spark, folder, costly, 40_000, 2),
            f"Before the first row, on {os.cpu_count()} cores": [
                {"starting Spark, s": started, "pyspark on disk, MB": round(size("pyspark") / 1e6)}
            ],
        }
    spark.stop()
    publish("spark", tables, ["recipes/circle_area/model_code.py", "shared/spark.py"])


if __name__ == "__main__":
    main()
