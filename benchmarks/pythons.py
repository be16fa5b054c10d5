"""One model as code and as a pickled object, loaded by other Pythons.

The model is circle_area's, stored by the Python that runs this. Python 3.10 to 3.13 are
looked for on the PATH and under ~/.pyenv/versions; what is not there is said to be
absent.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from shared.known_answer import ask, find_faults
from shared.recipes import CookbookError, find

import cloudpickle
import mlflow

from benchmarks.report import publish
from recipes.circle_area import model_code
from recipes.circle_area.driver import SIGNATURE

# NumPy is left open: no version of it has wheels for all four Pythons.
PINS = [f"{name}=={version(name)}" for name in ("mlflow", "cloudpickle", "pandas")]
CIRCLE = find("circle_area")


def interpreter(minor: str) -> str | None:
    """Return a Python of that minor version which starts, or None."""
    own = sys.executable if sys.version.startswith(f"{minor}.") else None
    pyenv = Path.home().glob(f".pyenv/versions/{minor}.*/bin/python")
    for python in filter(None, [own, shutil.which(f"python{minor}"), *map(str, pyenv)]):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def python_with(requirements: Path, python: str) -> list[str]:
    """Return the command of a Python that has these requirements and nothing else."""
    uv = [str(Path(sys.executable).with_name("uv")), "run", "-q", "--no-project"]
    uv += ["--isolated", "--no-python-downloads", "--python", python]
    return [*uv, "--with-requirements", str(requirements), "--", "python"]


def try_model(python: list[str], model: Path) -> str:
    """Return `works`, `wrong answer`, `error: <its last line>` or `crash: <signal>`."""
    try:
        response = ask(str(model), CIRCLE.path, python)
    except CookbookError as error:
        reason = str(error).partition(" did not answer: ")[2]
        return reason if reason.startswith("crash") else f"error: {reason}"
    return "wrong answer" if find_faults(CIRCLE.path, response) else "works"


if __name__ == "__main__":
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
    cloudpickle.register_pickle_by_value(
        model_code
    )  # else the pickle holds no more than its name
    models = {
        "model from code": CIRCLE.path / "model_code.py",
        "pickled": model_code.CircleArea(),
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        (asked := Path(name) / "requirements.txt").write_text(
            "\n".join(PINS), encoding="utf-8"
        )
        for way, model in models.items():
            how = {"signature": SIGNATURE, "pip_requirements": PINS}
            mlflow.pyfunc.save_model(Path(name) / way, python_model=model, **how)
        for minor in ("3.10", "3.11", "3.12", "3.13"):
            print(f"      Python {minor}", flush=True)
            row = {"Python": minor, **dict.fromkeys(models, "absent here")}
            if python := interpreter(minor):
                alone = python_with(asked, python)
                row |= {way: try_model(alone, Path(name) / way) for way in models}
            rows.append(row)
    stored = ".".join(map(str, sys.version_info[:2]))
    publish(
        "pythons",
        {f"Stored by Python {stored}, loaded by": rows},
        ["recipes/circle_area"],
    )
