"""A cluster on loopback, a master and two workers, scores recipes that take tables."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from shared import spark
from shared.known_answer import differences
from shared.processes import free_port, running_server
from shared.recipes import CookbookError, find
from shared.spark import start_spark

import pandas as pd
import pytest
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.scoring_server import infer_and_parse_data, predictions_to_json
from mlflow.types.schema import ColSpec, Schema

from tests.conftest import blocks, environment, make
from tests.verify.conftest import typed

pytestmark = pytest.mark.verify
A_TO_B = ModelSignature(
    Schema([ColSpec("double", "a")]), Schema([ColSpec("long", "b")])
)
LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_PUBLIC_DNS": "127.0.0.1"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a cluster's master; master and workers are stopped at the end."""
    import pyspark

    home, folder = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("spark")
    master = f"spark://127.0.0.1:{(port := free_port())}"
    variables = {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable, **LOOPBACK}
    limits = ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / "work")]
    roles = [["Master", "--port", str(port)], *[["Worker", *limits, master]] * 2]
    with ExitStack() as started:
        for number, (role, *words) in enumerate(roles):
            page = str(free_port())
            kind = f"org.apache.spark.deploy.{role.lower()}.{role}"
            command = [f"{home}/bin/spark-class", kind, "--host", "127.0.0.1"]
            command += ["--webui-port", page, *words]
            address, log = f"http://127.0.0.1:{page}", folder / f"{number}.log"
            server = running_server(command, folder, address, log, **variables)
            started.enter_context(server)
        yield master


@pytest.fixture
def score(logged, cluster, tmp_path):
    """Return a function that scores a table on the cluster, as it is typed."""

    def run(recipe, table: pd.DataFrame, *more: str, form: str = "parquet"):
        getattr(table, f"to_{form}")(tmp_path / f"rows.{form}", index=False)
        places = [f"INPUT={tmp_path}/rows.{form}", f"OUTPUT={tmp_path}/scored"]
        words = ["score-spark", f"RECIPE={recipe.name}", *places, *more]
        done = make(logged, *words, SPARK_MASTER=cluster, **LOOPBACK)
        assert "rows, " in done.stdout, done.stdout + done.stderr
        return done, pd.read_parquet(tmp_path / "scored")

    return run


def body(answers: pd.DataFrame) -> dict:
    """Return the answers as MLflow's model server would send them."""
    text = io.StringIO()
    predictions_to_json(answers.astype(object).where(answers.notna(), None), text)
    return without_row_numbers(json.loads(text.getvalue()))


def without_row_numbers(answer: dict) -> dict:
    """Return the answer without row numbers: each batch counts from 0."""
    return json.loads(re.sub(r"row \d+", "row", json.dumps(answer)))


def test_cluster_answers_as_one_process_does(recipe, folder, score):
    """Row by row; a recipe that reads its rows as one table, group by group."""
    request, known = recipe.json("request.json"), recipe.json("response.json")
    if "input" in request:
        pytest.skip("an agent; reference_qa has a test below")
    model, params = Model.load(folder(recipe)), request.pop("params", {})
    rows = pd.DataFrame(infer_and_parse_data(request, model.get_input_schema()))
    rows = rows.convert_dtypes(dtype_backend="pyarrow")
    is_table = len(known["predictions"]) != len(rows)
    copies = 4 if is_table else 1 if recipe.service_command else 50
    tables = [rows.assign(copy=copy, row=range(len(rows))) for copy in range(copies)]
    table, more = pd.concat(tables), [f"PARAMS={json.dumps(params)}"]
    if is_table:
        table, more = table.drop(columns="row"), [*more, "GROUP_BY=copy"]
    done, scored = score(recipe, table, *more)
    assert done.returncode == 0 and scored["_error"].isna().all()
    assert sorted(scored["copy"].unique()) == list(range(copies))
    names = model.get_output_schema().input_names()
    tolerance = known.pop("tolerance", {})
    for _, copy in scored.sort_values([] if is_table else "row").groupby("copy"):
        assert (
            differences(body(copy[names]), without_row_numbers(known), tolerance) == []
        )


def test_an_agent_is_asked_row_by_row(score):
    recipe = find("reference_qa")
    question = recipe.json("request.json")["input"][0]["content"]
    message = recipe.json("response.json")["output"][0]["content"][0]
    questions = [question, 'Who won\nthe "cup", and when?', None]
    table = pd.DataFrame({"row": range(3), "question": questions})
    done, scored = score(recipe, table, form="csv")
    scored = scored.sort_values("row")
    assert scored["question"].tolist() == questions
    assert done.returncode != 0 and "3 rows, 1 failed" in done.stdout
    assert scored["answer"].iloc[0] == message["text"]
    assert scored["answer"].iloc[1].startswith("No entry of Python's")
    assert [*map(len, scored["cited"][:2])] == [len(message["annotations"]), 0]
    assert scored["_error"].notna().tolist() == [False, False, True]


def test_failed_rows_are_reported(logged, cluster):
    """The guide's first commands, here and on the cluster, and what they print."""
    here, there = (b for b in blocks("spark", "bash") if "areas.parquet" in b)
    there = there.replace("spark://master:7077", cluster)
    assert cluster in there
    look, printed = blocks("spark", "python")[0], blocks("spark", "text")[0]
    for line in here, there:
        done = typed(logged, line, **LOOPBACK)
        assert done.returncode != 0 and "5 rows, 3 failed" in done.stdout
        words, env = [sys.executable, "-c", look], environment(logged)
        assert subprocess.check_output(words, cwd=logged, env=env, text=True) == printed
        again = typed(logged, line, **LOOPBACK)
        assert again.returncode != 0 and "already exists" in again.stderr
        shutil.rmtree(logged / "areas.parquet")


def test_this_machines_spark_is_on_loopback():
    spark = start_spark("sockets")
    host = spark.sparkContext.getConf().get("spark.driver.host")
    spark.stop()
    assert socket.gethostbyname(host) == "127.0.0.1"


@pytest.mark.parametrize(
    "signature, group_by, message",
    [
        (A_TO_B, "", "no column {'a'}; the input has"),
        (A_TO_B, "shop", "no column {'shop'}; the input has"),
        (ModelSignature(A_TO_B.inputs), "", "its signature names no outputs"),
        (ModelSignature(outputs=A_TO_B.outputs), "", "name its groups"),
    ],
)
def test_what_spark_cannot_score_is_said_in_a_line(
    signature, group_by, message, tmp_path
):
    Model(signature=signature).save(tmp_path / "MLmodel")
    has_a = "no column {'a'}" not in message
    rows = SimpleNamespace(columns=["a", "c"] if has_a else ["c"])
    with pytest.raises(CookbookError, match=message):
        spark.score(None, rows, str(tmp_path), group_by=group_by)
