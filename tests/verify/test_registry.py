"""Cell `registry`: versions, aliases, promotion and back, a composite and its parts."""

import json
import math
import subprocess
import sys

from shared.known_answer import find_faults
from shared.recipes import ROOT, WARNINGS, find
from shared.smoke import answer

import mlflow
import pytest

from tests.conftest import blocks, environment
from tests.verify.conftest import Logged

pytestmark = pytest.mark.verify("registry")


def typed(checkout: Logged, line: str) -> str:
    """Run a command of the guide and return what it said."""
    done = checkout.typed(line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_registered_and_loaded_by_alias(recipe, logged, monkeypatch):
    for line in "".join(blocks("registry", "bash")[0]).splitlines():
        said = typed(logged, line.replace("circle_area", recipe.name))
    assert f"models:/{recipe.name}@champion is version 1" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.store)
    champion = f"models:/{recipe.name}@champion"
    assert find_faults(recipe.path, answer(recipe, champion)) == []
    if recipe.name == "circle_area":
        client = (
            f"{blocks('registry', 'python')[0]}assert model.metadata.get_input_schema()"
        )
        env = environment(logged.checkout)
        subprocess.run([sys.executable, *WARNINGS, "-c", client], env=env, check=True)


@pytest.mark.verify("registry", recipe="clv_composite")
def test_composite_is_pinned_until_it_is_rebuilt(fresh_checkout, monkeypatch, tmp_path):
    """The guide's commands: a component's new version in the composite, and back."""
    name, checkout = "clv_composite", Logged(fresh_checkout("registry"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", checkout.store)
    register, promote = (
        line.replace("circle_area", name)
        for line in blocks("registry", "bash")[0].splitlines()
    )
    back = blocks("registry", "bash")[1].strip().replace("circle_area", name)
    rebuild = blocks("registry", "bash")[-1].strip()

    def answers(version: str) -> list[dict]:
        return answer(find(name), f"models:/{name}{version}")["predictions"]

    typed(checkout, f"make log RECIPE={name}; {register}; {promote}")
    before = answers("@champion")
    assert "newer" not in typed(checkout, "make registry")
    # A component from a colleague, who thinks that orders are worth twice as much.
    mlflow.set_tracking_uri(checkout.store)
    fitted = mlflow.artifacts.load_dict(
        "models:/clv_composite_aov/1/artifacts/fitted.json"
    )
    fitted["intercept"] += math.log(2)
    (tmp_path / "fitted.json").write_text(json.dumps(fitted))
    colleagues = mlflow.pyfunc.log_model(
        name="aov",
        python_model=ROOT / "recipes/clv_composite/component.py",
        artifacts={"fitted": str(tmp_path / "fitted.json")},
        pip_requirements=["mlflow"],
    )
    mlflow.register_model(colleagues.model_uri, "clv_composite_aov")
    said = [
        line
        for line in typed(checkout, "make registry").splitlines()
        if "newer" in line
    ]
    assert [line.strip() for line in said] == [
        f"built from aov: clv_composite_aov version 1; version 2 is newer: {rebuild}"
    ]
    assert answers("@champion") == before

    typed(checkout, f"{rebuild}; {register}")
    after = answers("@challenger")
    assert all(new["aov"] != old["aov"] for new, old in zip(after, before, strict=True))
    assert [row["p_return"] for row in after] == [row["p_return"] for row in before]
    assert f"back: {back}" in typed(checkout, promote)
    assert answers("@champion") == after and answers("/1") == before
    assert "newer" not in typed(checkout, "make registry")
    typed(checkout, back)
    assert answers("@champion") == before
