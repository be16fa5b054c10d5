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

from benchmarks import circle_area
from benchmarks.report import publish
from recipes.circle_area import model_code

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


def make_environment(folder: Path, python: str, *requirements: str) -> Path:
    """Make an environment of that Python with these requirements; return its Python."""
    uv = str(Path(sys.executable).with_name("uv"))
    made = folder / "bin/python"
    subprocess.run([uv, "venv", "-q", "-p", python, folder], check=True)
    subprocess.run([uv, "pip", "install", "-q", "-p", made, *requirements], check=True)
    return made


def try_model(python: Path, model: Path) -> str:
    """Return `works`, `wrong answer`, `error: <its last line>` or `crash: <signal>`."""
    try:
        response = ask(str(model), CIRCLE.path, [str(python)])
    except CookbookError as error:
        reason = str(error).partition(" did not answer: ")[2]
        return reason if reason.startswith("crash") else f"error: {reason}"
    return "wrong answer" if find_faults(CIRCLE.path, response) else "works"


if __name__ == "__main__":
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
    # Else the pickle holds no more than its name.
    cloudpickle.register_pickle_by_value(model_code)
    models = {
        "model from code": CIRCLE.path / "model_code.py",
        "pickled": model_code.CircleArea(),
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for way, model in models.items():
            changes = {"python_model": model, "pip_requirements": PINS}
            circle_area.save(folder / way, **changes)
        for minor in ("3.10", "3.11", "3.12", "3.13"):
            print(f"      Python {minor}", flush=True)
            row = {"Python": minor, **dict.fromkeys(models, "absent here")}
            if found := interpreter(minor):
                python = make_environment(folder / minor, found, *PINS)
                row |= {way: try_model(python, folder / way) for way in models}
            rows.append(row)
    stored = ".".join(map(str, sys.version_info[:2]))
    tables = {f"Stored by Python {stored}, loaded by": rows}
    publish("pythons", tables, ["recipes/circle_area"])
