"""What the MLflow of this Python loads, as JSON: benchmarks/matrix.py asks each MLflow.

Each model is loaded in a process of its own.
"""

import inspect
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow.pyfunc import PythonModel, save_model

CODE, OBJECT, UNPICKLES = "a model from code", "a pickled object", "code that unpickles"
PICKLE_OFF = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false"
CODE_OFF = "MLFLOW_ALLOW_MODEL_CODE_EXECUTION=false"
IMPORTS = (
    "import pickle\nfrom typing import Any\nfrom mlflow.pyfunc import PythonModel\n"
)
LOAD = "import sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1])"


class Model(PythonModel):
    def load_context(self, context: Any) -> None:
        for path in context.artifacts.values():
            with open(path, "rb") as file:
                pickle.load(file)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


def load(model: str, switch: str) -> str:
    """Return whether the model loads, with a switch in the environment."""
    command = ["env", switch, sys.executable, "-c", LOAD, model]
    done = subprocess.run(command, capture_output=True, text=True)
    outcome = "refused" if done.returncode else "loads"
    deprecated = re.search(r"MLFLOW_ALLOW\w+.* deprecated", done.stderr)
    return f"{outcome}; the switch is deprecated" if deprecated else outcome


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("file").write_bytes(pickle.dumps([0.5]))
        end = "\nimport mlflow\nmlflow.models.set_model(Model())\n"
        Path("code.py").write_text(IMPORTS + inspect.getsource(Model) + end)
        none: dict[str, Any] = {"pip_requirements": []}
        save_model(CODE, python_model="code.py", **none)
        save_model(UNPICKLES, python_model="code.py", artifacts={"a": "file"}, **none)
        save_model(OBJECT, python_model=Model(), **none)
        answers = {}
        for model in (CODE, UNPICKLES, OBJECT):
            for switch in (PICKLE_OFF, CODE_OFF):
                answers[f"{model}, `{switch}`"] = load(model, switch)
        print(json.dumps(answers))
