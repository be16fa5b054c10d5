"""Cell `registry`: versions, aliases, promotion and back, a composite and its components."""

import json
import shutil
import subprocess
import sys

import pytest

from shared.recipes import WARNINGS, find
from shared.smoke import score_elsewhere
from tests.conftest import environment
from tests.verify.conftest import Logged, assert_known_answer
from tests.verify.processes import blocks

pytestmark = pytest.mark.verify("registry")


def typed(checkout: Logged, line: str) -> str:
    """Run a command of the guide and return what it said."""
    done = checkout.typed(line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def alone(fresh_checkout):
    """Return a function: a fresh checkout in which that recipe was logged, and nothing else."""

    def make(name: str) -> Logged:
        made = Logged(fresh_checkout(f"registry {name}"))
        for folder in (made.checkout / "recipes").iterdir():
            if folder.is_dir() and folder.name != name:
                shutil.rmtree(folder)
        typed(made, f"make log RECIPE={name}")
        return made

    return make


def test_registered_and_loaded_by_alias(recipe, logged, monkeypatch):
    for line in "".join(blocks("registry", "bash")[0]).splitlines():
        said = typed(logged, line.replace("circle_area", recipe.name))
    assert f"models:/{recipe.name}@champion is version 1" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.store)
    answer = score_elsewhere(recipe, f"models:/{recipe.name}@champion")
    assert_known_answer(recipe, answer)


def answers(checkout: Logged, name: str, uri: str, monkeypatch) -> list[dict]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", checkout.store)
    return score_elsewhere(find(name), uri)["predictions"]


@pytest.mark.verify("registry", recipe="circle_area")
def test_promoted_and_rolled_back(alone, monkeypatch):
    """The second version computes something else; the first goes on as before."""
    checkout = alone("circle_area")
    register, promote = blocks("registry", "bash")[0].splitlines()
    back = blocks("registry", "bash")[1].strip()
    typed(checkout, register), typed(checkout, promote)
    code = checkout.checkout / "recipes/circle_area/model_code.py"
    text = code.read_text()
    assert "np.pi * radius**2" in text
    code.write_text(text.replace("np.pi * radius**2", "2 * np.pi * radius"))
    typed(checkout, "make log RECIPE=circle_area")
    typed(checkout, register)

    def area(uri: str) -> float:
        return answers(checkout, "circle_area", uri, monkeypatch)[1]["area"]

    first, second = 0.7853981633974483, 3.141592653589793
    assert area("models:/circle_area@champion") == first
    assert area("models:/circle_area@challenger") == second
    assert f"back: {back}" in typed(checkout, promote)
    assert area("models:/circle_area@champion") == second
    assert area("models:/circle_area/1") == first
    typed(checkout, back)
    assert area("models:/circle_area@champion") == first
    assert checkout.make("promote", "RECIPE=circle_area", "VERSION=7").returncode != 0

    client = (
        blocks("registry", "python")[0] + "print(model.metadata.get_input_schema() is not None)"
    )
    said = subprocess.check_output(
        [sys.executable, *WARNINGS, "-c", client],
        env=environment(checkout.checkout, MLFLOW_TRACKING_URI=checkout.store),
        text=True,
    )
    assert said.split()[-1] == "True"


# A component from a colleague: every order is worth 100.
COMPONENT = """
import mlflow, numpy, pathlib, sys
path = pathlib.Path(sys.argv[1], "constant.py")
path.write_text('''
import mlflow
import numpy as np
import pandas as pd

class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> np.ndarray:
        return np.full(len(model_input), 100.0)

mlflow.models.set_model(Constant())
''')
mlflow.set_experiment("clv_composite")
with mlflow.start_run():
    mlflow.pyfunc.log_model(
        name="aov", python_model=path, pip_requirements=[], registered_model_name="clv_aov"
    )
"""


@pytest.mark.verify("registry", recipe="clv_composite")
def test_composite_is_pinned_until_it_is_rebuilt(alone, monkeypatch, tmp_path):
    checkout, name = alone("clv_composite"), "clv_composite"
    typed(checkout, f"make register RECIPE={name}")
    typed(checkout, f"make promote RECIPE={name}")
    before = answers(checkout, name, f"models:/{name}@champion", monkeypatch)
    assert "newer" not in typed(checkout, "make registry")

    subprocess.run(
        [sys.executable, "-c", COMPONENT, tmp_path],
        env=environment(checkout.checkout, MLFLOW_TRACKING_URI=checkout.store),
        check=True,
    )
    rebuild = blocks("registry", "bash")[-1].strip()
    said = [line for line in typed(checkout, "make registry").splitlines() if "newer" in line]
    assert [line.strip() for line in said] == [
        f"built from aov: clv_aov version 1; version 2 is newer: {rebuild}"
    ]
    assert answers(checkout, name, f"models:/{name}@champion", monkeypatch) == before

    typed(checkout, rebuild)
    typed(checkout, f"make register RECIPE={name}")
    after = answers(checkout, name, f"models:/{name}@challenger", monkeypatch)
    assert all(new["aov"] != old["aov"] for new, old in zip(after, before, strict=True))
    assert [row["p_return"] for row in after] == [row["p_return"] for row in before]
    typed(checkout, f"make promote RECIPE={name}")
    assert "newer" not in typed(checkout, "make registry")
    assert answers(checkout, name, f"models:/{name}/1", monkeypatch) == before
    assert json.loads(json.dumps(before)) != after
