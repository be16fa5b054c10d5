"""A standalone cluster on loopback, a master and two workers, scores them all."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from shared.known_answer import differences
from shared.processes import free_port, running_server
from shared.recipes import find
from shared.spark import start_spark

import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import infer_and_parse_data, predictions_to_json

from benchmarks.report import marked_processes
from tests.conftest import blocks, environment, left_behind
from tests.torture.test_load import listening

LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_PUBLIC_DNS": "127.0.0.1"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a cluster's master; master and workers are stopped at the end."""
    assert shutil.which("java"), "Java 17 is missing: make system"
    import pyspark

    home, folder = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("spark")
    master = f"spark://127.0.0.1:{(port := free_port())}"
    where = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, **LOOPBACK}
    limits = ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / "work")]
    roles = [["Master", "--port", str(port)], *[["Worker", *limits, master]] * 2]
    with ExitStack() as started:
        for number, (role, *words) in enumerate(roles):
            page, log = free_port(), folder / f"{number}.log"
            command = [
                f"{home}/bin/spark-class",
                f"org.apache.spark.deploy.{role.lower()}.{role}",
            ]
            command += ["--host", "127.0.0.1", "--webui-port", str(page), *words]
            server = running_server(
                command, folder, f"http://127.0.0.1:{page}", log, **where
            )
            started.enter_context(server)
        yield master


def question(recipe, model: Model) -> tuple[pd.DataFrame, dict]:
    """Return the rows of request.json as a file for Spark, and the params."""
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
    """Return the answer without row numbers: each batch counts from 0."""
    return json.loads(re.sub(r"row \d+", "row", json.dumps(answer)))


@pytest.mark.verify("spark")
def test_cluster_answers_as_one_process_does(recipe, logged, cluster, tmp_path):
    """Row by row; a recipe that reads its rows as one table, group by group."""
    model, known = Model.load(logged.folder(recipe)), recipe.json("response.json")
    asked, more = recipe.json("request.json"), []
    agent, tolerance = "input" in asked, known.pop("tolerance", {})
    whole = not agent and len(known["predictions"]) != len(
        asked["dataframe_split"]["data"]
    )
    if agent:
        questions = [asked["input"][0]["content"], "Who won the cup?", None]
        table = pd.DataFrame({"row": range(3), "question": questions})
    else:
        rows, params = question(recipe, model)
        times = 4 if whole else 1 if recipe.service_command else 50
        tables = [rows.assign(copy=copy, row=range(len(rows))) for copy in range(times)]
        table = pd.concat(tables).drop(columns="row" if whole else [])
        more = [f"PARAMS={json.dumps(params)}", *(["GROUP_BY=copy"] if whole else [])]
    table.to_parquet(tmp_path / "rows.parquet")
    words = [
        f"RECIPE={recipe.name}",
        f"INPUT={tmp_path}/rows.parquet",
        f"OUTPUT={tmp_path}/scored",
    ]
    done = logged.make("score-spark", *words, *more, SPARK_MASTER=cluster, **LOOPBACK)
    scored = pd.read_parquet(tmp_path / "scored").sort_values([] if whole else "row")
    assert bool(done.returncode) == agent, done.stdout + done.stderr
    if "context" in asked:  # a row is no conversation
        assert "3 failed" in done.stdout
        assert scored["_error"][:2].str.contains("conversation_id").all()
        return
    if agent:
        said = known["output"][0]["content"][0]
        assert "3 rows" in done.stdout and "1 failed" in done.stdout
        assert scored["answer"].iloc[0] == said["text"]
        assert scored["answer"].iloc[1].startswith("No entry of Python's")
        assert list(map(len, scored["cited"][:2])) == [len(said["annotations"]), 0]
        assert scored["_error"].notna().tolist() == [False, False, True]
        return
    assert scored["_error"].isna().all()
    assert sorted(scored["copy"].unique()) == list(range(times))
    names = model.get_output_schema().input_names()
    for _, copy in scored.groupby("copy"):
        got = unnumbered(body(copy[names]))
        assert differences(got, unnumbered(known), tolerance) == []


@pytest.mark.verify("spark", recipe="circle_area")
def test_failed_rows_are_reported(logged, cluster):
    """The guide's first commands, here and on the cluster, and what they print."""
    folder = logged.checkout
    here, there = (b for b in blocks("spark", "bash") if "areas.parquet" in b)
    there = there.replace("spark://master:7077", cluster)
    assert cluster in there
    look, printed = blocks("spark", "python")[0], blocks("spark", "text")[0]
    for line in here, there:
        done = logged.typed(line, **LOOPBACK)
        assert done.returncode != 0 and "5 rows, 3 failed" in done.stdout
        words, env = [sys.executable, "-c", look], environment(folder)
        assert subprocess.check_output(words, cwd=folder, env=env, text=True) == printed
        again = logged.typed(line, **LOOPBACK)
        assert again.returncode != 0 and "already exists" in again.stderr
        shutil.rmtree(folder / "areas.parquet")


@pytest.mark.verify("spark", recipe="circle_area")
def test_a_polite_kill_leaves_no_process_behind(logged, tmp_path):
    (tmp_path / "circles.csv").write_text("diameter\n1\n")
    words = [
        "score-spark",
        "RECIPE=circle_area",
        f"INPUT={tmp_path}/circles.csv",
        "OUTPUT=x",
    ]
    more = {"COOKBOOK_MARK": str(tmp_path), **LOOPBACK}
    assert left_behind(logged.checkout, words, 4, signal.SIGTERM, **more) == {}


@pytest.mark.verify("spark", recipe="circle_area")
def test_this_machine_s_spark_listens_on_loopback(tmp_path, monkeypatch):
    monkeypatch.setenv("COOKBOOK_MARK", str(tmp_path))
    spark = start_spark("sockets")
    spark.range(9).mapInPandas(
        lambda batches: batches, "id long"
    ).count()  # with its Python workers
    found = listening([*marked_processes(str(tmp_path))])
    assert {place.removeprefix("::ffff:") for place in found} == {"127.0.0.1"}
    spark.stop()


@pytest.mark.verify("spark", recipe="pc_causal_discovery")
def test_bootstrap_replicates(logged):
    """Tables spread over workers give the answers of one after the other."""
    import mlflow

    recipe, folder = find("pc_causal_discovery"), logged.checkout
    split = recipe.json("request.json")["dataframe_split"]
    pd.DataFrame(split["data"], columns=split["columns"]).to_parquet(
        folder / "cells.parquet"
    )
    make_replicates, count = blocks("spark", "python")[1:]
    env = environment(folder)
    subprocess.run(
        [sys.executable, "-c", make_replicates], cwd=folder, env=env, check=True
    )
    command = next(block for block in blocks("spark", "bash") if "GROUP_BY" in block)
    done = logged.typed(command)
    assert done.returncode == 0, done.stdout + done.stderr
    edges = pd.read_parquet(folder / "edges.parquet")
    assert edges["_error"].isna().all() and set(edges["replicate"]) == set(range(20))
    model = mlflow.pyfunc.load_model(str(logged.folder(recipe)))
    for replicate, table in pd.read_parquet(folder / "replicates.parquet").groupby(
        "replicate"
    ):
        alone = model.predict(table.drop(columns="replicate"))
        spread = edges[edges["replicate"] == replicate][list(alone.columns)]
        assert spread.to_dict("list") == alone.to_dict("list")
    words = [sys.executable, "-c", f"import pandas as pd\n{count}"]
    said = subprocess.check_output(words, cwd=folder, env=env, text=True)
    assert "directed" in said
