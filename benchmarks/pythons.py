"""One model stored both ways, as code and as a pickled object, then loaded by other Pythons.

The model is circle_area's, stored by the Python that runs this. Python 3.10 to 3.13 are looked for
on the PATH and under ~/.pyenv/versions; what is not there is said to be absent.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from shared.recipes import find
from shared.smoke import SCORE, python_with, wrong

import cloudpickle
import mlflow

from benchmarks.report import publish
from recipes.circle_area import model_code
from recipes.circle_area.driver import SIGNATURE

# NumPy is left open: no version of it has wheels for all four Pythons.
PINS = [f"{name}=={version(name)}" for name in ("mlflow", "cloudpickle", "pandas")]
CIRCLE = find("circle_area")


def interpreter(minor: str) -> str | None:
    """Return a Python of that minor version which starts (a pyenv shim may not), or None."""
    own = sys.executable if sys.version.startswith(f"{minor}.") else None
    pyenv = Path.home().glob(f".pyenv/versions/{minor}.*/bin/python")
    for python in filter(None, [own, shutil.which(f"python{minor}"), *map(str, pyenv)]):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def outcome(python: list[str], model: Path) -> str:
    """Return `works`, `wrong answer`, `error: <its last line>` or `crash: <signal>`."""
    (answer := model.with_suffix(".json")).unlink(missing_ok=True)
    request = CIRCLE.path / "request.json"
    words = [*python, "-I", "-c", SCORE, str(model), str(request), str(answer)]
    done = subprocess.run(words, cwd="/", capture_output=True, text=True)
    if done.returncode > 128:  # as uv passes on the end by a signal
        return f"crash: {signal.strsignal(done.returncode - 128)}"
    if done.returncode:
        return f"error: {done.stderr.strip().splitlines()[-1]}"
    return "wrong answer" if wrong(CIRCLE, json.loads(answer.read_text())) else "works"


if __name__ == "__main__":
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
                row |= {way: outcome(alone, Path(name) / way) for way in models}
            rows.append(row)
    stored = ".".join(map(str, sys.version_info[:2]))
    publish(
        "pythons",
        {f"Stored by Python {stored}, loaded by": rows},
        ["recipes/circle_area"],
    )
