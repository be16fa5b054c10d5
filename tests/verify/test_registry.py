"""Versions, aliases, promotion and back; a composite and its parts."""

import json
import math

from shared.recipes import ROOT, find
from shared.smoke import ask_elsewhere

import mlflow
import pytest

from tests.conftest import blocks, store_uri
from tests.verify.conftest import typed

pytestmark = pytest.mark.verify
PROMOTE, BACK, REBUILD = blocks("registry", "bash")
_, REBUILD_PY = blocks("registry", "python")


def test_composite_is_pinned_until_it_is_rebuilt(fresh_checkout, monkeypatch, tmp_path):
    """The guide's commands: a component's new version in the composite, and back."""
    name, checkout = "clv_composite", fresh_checkout("registry")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri(checkout))
    register, promote = PROMOTE.replace("circle_area", name).splitlines()
    back = BACK.strip().replace("circle_area", name)
    (checkout / "rebuild.py").write_text(REBUILD_PY)

    def printed(lines: str) -> str:
        done = typed(checkout, lines)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answers(version: str) -> list[dict]:
        return ask_elsewhere(find(name), f"models:/{name}{version}")["predictions"]

    printed(f"make log RECIPE={name}; {register}; {promote}")
    before = answers("@champion")
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
    assert answers("@champion") == before

    printed(REBUILD)
    after = answers("@challenger")
    assert all(new["aov"] != old["aov"] for new, old in zip(after, before, strict=True))
    assert [row["p_return"] for row in after] == [row["p_return"] for row in before]
    assert f"back: {back}" in printed(promote)
    assert answers("@champion") == after and answers("/1") == before
    printed(back)
    assert answers("@champion") == before
