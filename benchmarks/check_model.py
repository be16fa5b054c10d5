"""The small models of check_model.yml, on which check-model is tested.

Each model has one fault or none. It is made of a faultless base by an edit: code in
place of a comment of the base.
"""

import os
import re
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import cloudpickle
import mlflow
import pandas as pd
import yaml
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

CORPUS = yaml.safe_load(
    Template(Path(__file__).with_suffix(".yml").read_text("utf-8")).substitute(
        KEY="sk-" + "a1B2" * 6,
        HEX="0123456789abcdef" * 2,
        MLFLOW=mlflow.__version__,
        NUMPY=version("numpy"),
        LANGCHAIN=version("langchain-core"),
    )
)
ANY = Schema([ColSpec(AnyType(), "x")])
ANY_OR_NONE = Schema([ColSpec(AnyType(), "x", required=False)])
DOUBLE = Schema([ColSpec(DataType.double, "x")])
Y = Schema([ColSpec(DataType.double, "y")])
TIMES = ParamSchema([ParamSpec("times", DataType.double, 1.0)])
API_KEY = ParamSchema([ParamSpec("api_key", DataType.string, "x")])
SIGNATURES = {
    "any": ModelSignature(ANY, Y),
    "any, may be absent": ModelSignature(ANY_OR_NONE, Y),
    "any, times": ModelSignature(ANY, Y, TIMES),
    "any, and a key as param": ModelSignature(ANY, Y, API_KEY),
    "double": ModelSignature(DOUBLE, Y),
}


class Model:
    """A model of the corpus: a base with edits, and other arguments of save_model.

    `finds` is the check that has to find its fault. `brings` are files for code_paths,
    `artifact` is the content of an artifact, `adds` are files put into the saved
    folder, by their content or their size, and `run` are params of the run that logs
    the model.
    """

    def __init__(self, finds: str | None, base: str = "table", **given: Any) -> None:
        self.finds = finds
        self.name = f"{finds or 'faultless'} {base} {' '.join(given)}"
        self.given = {"pip_requirements": [f"mlflow=={mlflow.__version__}"]}
        self.given |= CORPUS["bases"][base] | given
        self.code = str(self.given.pop("code"))
        for line, indent, place in re.findall(r"^(( *)# (\w+)\n)", self.code, re.M):
            if edit := self.given.pop(place, None):
                edited = textwrap.indent(str(edit).rstrip(), indent)
                self.code = self.code.replace(line, f"{edited}\n")

    def save(self, place: Path) -> str:
        """Save the model as `place`/model, and return that folder, or log it."""
        given: dict[str, Any] = dict(self.given)
        brings, artifact = given.pop("brings", {}), given.pop("artifact", "")
        adds, run = given.pop("adds", {}), given.pop("run", {})
        files = {"model_code.py": self.code, "factor.txt": artifact, **brings}
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        if brings:
            given["code_paths"] = [place / name.split("/")[0] for name in brings]
        if artifact:
            given["artifacts"] = {"factor": str(place / "factor.txt")}
        if name := given.get("signature"):
            given["signature"] = SIGNATURES[name]
        example, frame = given.pop("example", None), given.pop("frame", None)
        example = pd.DataFrame(frame) if frame else example
        params = given.pop("params", None)
        given["input_example"] = (example, params) if params else example
        flavor, model = mlflow.pyfunc, "python_model"
        if given.pop("flavor", None):
            flavor, model = mlflow.langchain, "lc_model"
        given.setdefault(model, str(place / "model_code.py"))
        if run:
            mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
            with mlflow.start_run():
                mlflow.log_params(run)
                return str(flavor.log_model(name="model", **given).model_uri)
        flavor.save_model(path=place / "model", **given)
        for name, content in adds.items():
            add_file(place / "model" / name, content)
        return str(place / "model")


def add_file(file: Path, content: str | int) -> None:
    """Write a file with this content, or of so many bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        file.write_text(content, encoding="latin-1")
    else:
        file.touch()
        os.truncate(file, content)  # a hole takes no room


class Pickled(PythonModel):
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        for value in model_input["x"]:
            if type(value) is not float or value != value:
                raise mlflow.MlflowException.invalid_parameter_value("no number")
        return pd.DataFrame({"y": [2 * x for x in model_input["x"]]})


cloudpickle.register_pickle_by_value(sys.modules[__name__])
FAULTS = [Model("is-code", python_model=Pickled())]
FAULTS += [
    Model(check, **given)
    for check, models in CORPUS["faults"].items()
    for given in models
]
FAULTLESS = [Model(None, **given) for given in CORPUS["faultless"]]
