"""Versions, aliases, promotion and back; a composite and its parts."""

import json
import math

from shared.known_answer import find_faults
from shared.recipes import ROOT, find
from shared.smoke import answer

import mlflow
import pytest

from tests.conftest import blocks
from tests.verify.conftest import Logged

pytestmark = pytest.mark.verify
PROMOTE, BACK, REBUILD = blocks("registry", "bash")


def test_registered_and_loaded_by_alias(recipe, logged, monkeypatch):
    printed = logged.printed(PROMOTE.replace("circle_area", recipe.name))
    assert f"models:/{recipe.name}@champion is version 1" in printed
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.store)
    champion = f"models:/{recipe.name}@champion"
    assert find_faults(recipe.path, answer(recipe, champion)) == []


def test_composite_is_pinned_until_it_is_rebuilt(fresh_checkout, monkeypatch, tmp_path):
    """The guide's commands: a component's new version in the composite, and back."""
    name, checkout = "clv_composite", Logged(fresh_checkout("registry"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", checkout.store)
    register, promote = PROMOTE.replace("circle_area", name).splitlines()
    back = BACK.strip().replace("circle_area", name)
    rebuild = REBUILD.strip()

    def answers(version: str) -> list[dict]:
        return answer(find(name), f"models:/{name}{version}")["predictions"]

    checkout.printed(f"make log RECIPE={name}; {register}; {promote}")
    before = answers("@champion")
    assert "newer" not in checkout.printed("make registry")
    # A component from a colleague, who thinks that orders are worth twice as much.
    part = "models:/clv_composite_aov/1/artifacts/fitted.json"
    fitted = mlflow.artifacts.load_dict(part)
    fitted["intercept"] += math.log(2)
    (tmp_path / "fitted.json").write_text(json.dumps(fitted))
    mlflow.pyfunc.log_model(
        name="aov",
        python_model=ROOT / "recipes/clv_composite/component.py",
        artifacts={"fitted": str(tmp_path / "fitted.json")},
        pip_requirements=["mlflow"],
        registered_model_name="clv_composite_aov",
    )
    remedy = "clv_composite_aov version 1; version 2 is newer"
    assert f"built from aov: {remedy}: {rebuild}" in checkout.printed("make registry")
    assert answers("@champion") == before

    checkout.printed(f"{rebuild}; {register}")
    after = answers("@challenger")
    assert all(new["aov"] != old["aov"] for new, old in zip(after, before, strict=True))
    assert [row["p_return"] for row in after] == [row["p_return"] for row in before]
    assert f"back: {back}" in checkout.printed(promote)
    assert answers("@champion") == after and answers("/1") == before
    assert "newer" not in checkout.printed("make registry")
    checkout.printed(back)
    assert answers("@champion") == before
