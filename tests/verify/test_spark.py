"""Cell `spark`: a standalone cluster, one master and two workers on loopback, scores every recipe.

The cluster is that of pip's pyspark, which has no start scripts: `spark-class` starts its parts.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import infer_and_parse_data, predictions_to_json

from tests.verify.conftest import assert_known_answer

LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_PUBLIC_DNS": "127.0.0.1"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a cluster's master; master and workers are stopped at the end."""
    assert shutil.which("java"), "Java 17 is missing: make system"
    import pyspark

    home, folder = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("cluster")
    started = []

    def start(role: str, *words: str, until: str) -> str:
        log = folder / f"{role}{len(started)}.log"
        command = [home / "bin/spark-class", f"org.apache.spark.deploy.{role.lower()}.{role}"]
        where = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, **LOOPBACK}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--webui-port", "0", *words],
                env={**os.environ, **where},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        deadline = time.monotonic() + 60
        while not (found := re.search(until, log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        return found[0]

    try:
        start("Master", "--port", "0", until="New state: ALIVE")
        master = re.search(r"spark://[\d.:]+", (folder / "Master0.log").read_text())[0]
        for _ in range(2):
            limits = ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / "work")]
            start("Worker", *limits, master, until="Successfully registered")
        yield master
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def question(recipe, model: Model) -> tuple[pd.DataFrame, dict]:
    """Return the rows and the params of request.json as a file for Spark would hold them."""
    asked = recipe.json("request.json")
    params = asked.pop("params", {})
    rows = pd.DataFrame(infer_and_parse_data(asked, model.get_input_schema()))
    return rows.convert_dtypes(dtype_backend="pyarrow"), params


def body(answers: pd.DataFrame) -> dict:
    """Return the answers as MLflow's model server would send them."""
    text = io.StringIO()
    predictions_to_json(answers.astype(object).where(answers.notna(), None), text)
    return json.loads(text.getvalue())


@pytest.mark.verify("spark")
def test_cluster_answers_as_one_process_does(recipe, logged, cluster, tmp_path):
    """Row by row; a recipe that reads its rows as one table, group by group."""
    model = Model.load(logged.folder(recipe))
    rows, params = question(recipe, model)
    times = 1 if recipe.runs_with else 50
    tables = [rows.assign(copy=copy, row=range(len(rows))) for copy in range(times)]
    whole = len(recipe.json("response.json")["predictions"]) != len(rows)
    groups = ["GROUP_BY=copy"] if whole else []
    if whole:
        tables = [table.drop(columns="row") for table in tables[:4]]
    pd.concat(tables).to_parquet(tmp_path / "rows.parquet")
    words = [f"RECIPE={recipe.name}", f"INPUT={tmp_path}/rows.parquet", f"OUTPUT={tmp_path}/scored"]
    done = logged.make(
        *("score-spark", *words, *groups, f"PARAMS={json.dumps(params)}"),
        SPARK_MASTER=cluster,
        **LOOPBACK,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scored = pd.read_parquet(tmp_path / "scored")
    assert scored["_error"].isna().all()
    assert sorted(scored["copy"].unique()) == list(range(len(tables)))
    names = model.get_output_schema().input_names()
    for _, copy in scored.groupby("copy"):
        copy = copy if whole else copy.sort_values("row")
        assert_known_answer(recipe, body(copy[names]))
