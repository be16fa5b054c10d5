"""Cell `spark`: a standalone cluster, one master and two workers on loopback, scores every recipe.

The cluster is that of pip's pyspark, which has no start scripts: `spark-class` starts its parts.
"""

import io
import json
import math
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

from shared.recipes import find
from shared.smoke import differences
from tests.conftest import environment, processes
from tests.verify.processes import blocks

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


def unnumbered(answer: dict) -> dict:
    """Return the answer without row numbers in its texts: each batch on Spark counts from 0."""
    return json.loads(re.sub(r"row \d+", "row", json.dumps(answer)))


@pytest.mark.verify("spark")
def test_cluster_answers_as_one_process_does(recipe, logged, cluster, tmp_path):
    """Row by row; a recipe that reads its rows as one table, group by group."""
    model = Model.load(logged.folder(recipe))
    if "input" in (asked := recipe.json("request.json")):
        questions = [asked["input"][0]["content"], "Who won the cup?", None]
        pd.DataFrame({"id": [1, 2, 3], "question": questions}).to_parquet(tmp_path / "rows.parquet")
        words = [f"RECIPE={recipe.name}", f"INPUT={tmp_path}/rows.parquet"]
        done = logged.make(
            "score-spark", *words, f"OUTPUT={tmp_path}/scored", SPARK_MASTER=cluster, **LOOPBACK
        )
        assert done.returncode != 0 and "3 rows in" in done.stdout and "1 failed" in done.stdout
        scored = pd.read_parquet(tmp_path / "scored").set_index("id").sort_index()
        known = recipe.json("response.json")["output"][0]["content"][0]
        assert scored["answer"][1] == known["text"] and scored["answer"][2].startswith(
            "Python's reference doesn't"
        )
        assert list(map(len, scored["cited"][:2])) == [len(known["annotations"]), 0]
        assert scored["_error"].notna().tolist() == [False, False, True]
        return
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
        want = recipe.json("response.json")
        tolerance = want.pop("tolerance", {})
        assert differences(unnumbered(body(copy[names])), unnumbered(want), tolerance) == []


@pytest.mark.verify("spark", recipe="circle_area")
def test_failed_rows_are_reported(logged, cluster):
    """The guide's first commands, here and on the cluster; its own call gives the same areas."""
    folder = logged.checkout
    (folder / "circles.csv").write_text("id,diameter\na,1\nb,\nc,-1\nd,abc\ne,2\n")
    here, there = blocks("spark", "bash")[:2]
    there = there.replace("spark://master:7077", cluster)
    assert cluster in there
    for line in here, there:
        done = logged.typed(line, **LOOPBACK)
        assert done.returncode != 0 and "5 rows" in done.stdout and "3 failed" in done.stdout
        scored = pd.read_parquet(folder / "areas.parquet").set_index("id").sort_index()
        assert scored["area"].dropna().round(6).to_dict() == {"a": 0.785398, "e": 3.141593}
        reasons = scored["_error"].dropna().map(lambda said: said.split(":")[0])
        assert reasons.to_dict() == {
            "b": "row 0",
            "c": "column 'diameter', row 0",
            "d": "not as the signature says",
        }
        again = logged.typed(line, **LOOPBACK)
        assert again.returncode != 0 and "already exists" in again.stderr
        shutil.rmtree(folder / "areas.parquet")

    circles = pd.DataFrame({"diameter": [0.0, 1.0, 2.0, 10.5] * 50})
    circles.to_parquet(folder / "circles.parquet")
    plain = blocks("spark", "python")[-1]
    plain = plain.replace("models:/circle_area@champion", logged.uri(find("circle_area")))
    plain += "scored = circles.select(area(struct('diameter')).alias('answer')).collect()\n"
    plain += "print([row.answer.area for row in scored])"
    said = subprocess.check_output(
        [sys.executable, "-c", plain],
        cwd=folder,
        text=True,
        env=environment(
            folder, MLFLOW_TRACKING_URI=logged.store, PYSPARK_PYTHON=sys.executable, **LOOPBACK
        ),
    )
    wanted = [math.pi * (d / 2) ** 2 for d in circles["diameter"]]
    assert json.loads(said.strip().splitlines()[-1]) == wanted


@pytest.mark.verify("spark", recipe="circle_area")
def test_a_polite_kill_leaves_no_process_behind(logged, tmp_path):
    (tmp_path / "circles.csv").write_text("diameter\n1\n")
    words = ["make", "-o", ".venv/.spark", "score-spark", "RECIPE=circle_area"]
    words += [f"INPUT={tmp_path}/circles.csv", f"OUTPUT={tmp_path}/areas.parquet"]
    alone = environment(logged.checkout, COOKBOOK_MARK=str(tmp_path), **LOOPBACK)
    process = subprocess.Popen(words, cwd=logged.checkout, env=alone, start_new_session=True)
    deadline = time.monotonic() + 120

    def there(word: str) -> bool:
        return any(word in command for command in processes(str(tmp_path)).values())

    while not there("java") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert there("java")
    process.terminate()
    process.wait(60)
    while there("") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(str(tmp_path)) == {}


@pytest.mark.verify("spark", recipe="pc_causal_discovery")
def test_bootstrap_replicates(logged):
    """The guide's commands: tables spread over workers, the same answers as one after the other."""
    import mlflow

    recipe, folder = find("pc_causal_discovery"), logged.checkout
    split = recipe.json("request.json")["dataframe_split"]
    pd.DataFrame(split["data"], columns=split["columns"]).to_parquet(folder / "cells.parquet")
    make_replicates, count = blocks("spark", "python")[:2]
    env = environment(folder)
    subprocess.run([sys.executable, "-c", make_replicates], cwd=folder, env=env, check=True)
    command = next(block for block in blocks("spark", "bash") if "GROUP_BY" in block)
    done = logged.typed(command)
    assert done.returncode == 0, done.stdout + done.stderr
    edges = pd.read_parquet(folder / "edges.parquet")
    assert edges["_error"].isna().all() and set(edges["replicate"]) == set(range(20))
    model = mlflow.pyfunc.load_model(str(logged.folder(recipe)))
    for replicate, table in pd.read_parquet(folder / "replicates.parquet").groupby("replicate"):
        alone = model.predict(table.drop(columns="replicate"))
        spread = edges[edges["replicate"] == replicate][list(alone.columns)]
        assert spread.to_dict("list") == alone.to_dict("list")
    said = subprocess.check_output(
        [sys.executable, "-c", f"import pandas as pd\n{count}"], cwd=folder, env=env, text=True
    )
    assert "directed" in said
