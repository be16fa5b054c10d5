"""What the MLflow of this Python loads, as JSON; benchmarks/matrix.py runs it."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mlflow.pyfunc import save_model

SWITCHES = [
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false",
    "MLFLOW_ALLOW_MODEL_CODE_EXECUTION=false",
]
CODE = """
import pickle
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        for path in context.artifacts.values():
            pickle.load(open(path, "rb"))

    def predict(self, context, model_input, params=None):
        return model_input

model = Model()
mlflow.models.set_model(model)
"""
LOAD = "import sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1])"


def load(model: str, switch: str) -> str:
    """Return whether another process loads the model, with the switch set."""
    command = ["env", switch, sys.executable, "-c", LOAD, model]
    done = subprocess.run(command, capture_output=True, text=True)
    outcome = "refused" if done.returncode else "loads"
    deprecated = re.search(r"MLFLOW_ALLOW\w+.* deprecated", done.stderr)
    return f"{outcome}; the switch is deprecated" if deprecated else outcome


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("code.py").write_text(CODE)
        Path("list.pickle").write_bytes(b"\x80\x04]\x94.")
        names = {"__name__": "__main__"}
        exec(CODE, names)
        models = {
            "a model from code": {"python_model": "code.py"},
            "code that unpickles": {
                "python_model": "code.py",
                "artifacts": {"list": "list.pickle"},
            },
            "a pickled object": {"python_model": names["model"]},
        }
        for name, arguments in models.items():
            save_model(name, pip_requirements=[], **arguments)
        asked = [(name, switch) for switch in SWITCHES for name in models]
        print(json.dumps({f"{n}, `{s}`": load(n, s) for n, s in asked}))
