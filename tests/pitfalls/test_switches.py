"""What MLflow's switches refuse to load is kept for the site, by MLflow's version."""

import json
import os
import subprocess
import sys
from datetime import date

import cloudpickle
import mlflow
import pytest
from sklearn.linear_model import LinearRegression

from docs.pitfalls import SWITCHES, read

pytestmark = [pytest.mark.pitfall, pytest.mark.filterwarnings("ignore")]
PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
CODE = "MLFLOW_ALLOW_MODEL_CODE_EXECUTION"
LOAD = """import json, sys, mlflow
said = {}
for model in sys.argv[1:]:
    try:
        mlflow.pyfunc.load_model(model)
        said[model] = "loads"
    except mlflow.MlflowException as error:
        said[model] = "is refused" if "disallowed" in str(error) else str(error)
print(json.dumps(said))"""


def save_models() -> list[str]:
    """Save a model of each kind into this folder; its name is the folder's."""
    for name, text in read("pickle_inside").ways["wrong"].items():
        with open(name, "w") as file:
            file.write(text)
    with open("line.pkl", "wb") as file:
        cloudpickle.dump({"slope": 2.0}, file)
    pins = {"pip_requirements": ["mlflow"]}
    code = "from code, which unpickles an artifact"
    artifacts = {"line": "line.pkl"}
    mlflow.pyfunc.save_model(
        code, python_model="model_code.py", artifacts=artifacts, **pins
    )
    with open("same.py", "w") as file:
        file.write(read("model_code_refused").ways["wrong"]["model_code.py"])
    mlflow.pyfunc.save_model("from code", python_model="same.py", **pins)
    pickled = mlflow.pyfunc.PythonModel()
    pickled.predict = lambda context, model_input: model_input
    mlflow.pyfunc.save_model("pickled PythonModel", python_model=pickled, **pins)
    fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    models = ["from code", code, "pickled PythonModel"]
    for kind in ("skops", "cloudpickle"):
        models.append(f"scikit-learn, {kind}")
        mlflow.sklearn.save_model(fitted, models[-1], serialization_format=kind, **pins)
    return models


def test_switches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = save_models()
    command = [sys.executable, "-c", LOAD, *models]
    refused = {}
    for switch in (PICKLE, CODE):
        printed = subprocess.check_output(command, env={**os.environ, switch: "false"})
        refused[switch] = json.loads(printed.splitlines()[-1])
    assert refused[PICKLE]["from code"] == refused[PICKLE][models[1]] == "loads"
    assert refused[PICKLE]["pickled PythonModel"] == "is refused"
    assert len(set(refused[CODE].values())) == 1, "3.17 knows no such switch, 3.18 does"
    kept = json.loads(SWITCHES.read_text()) if SWITCHES.is_file() else {}
    if kept.get(mlflow.__version__, {}).get("refused") != refused:
        today = f"{date.today():%Y-%m-%d}"
        kept[mlflow.__version__] = {"date": today, "refused": refused}
        SWITCHES.write_text(f"{json.dumps(kept, indent=1)}\n")
