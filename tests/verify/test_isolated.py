"""The model alone, in an environment made only from its own requirements."""

import subprocess
import sys
from pathlib import Path

from shared.known_answer import find_faults
from shared.new import new
from shared.recipes import CookbookError, Recipe, find
from shared.smoke import answer

import pytest


@pytest.mark.verify("isolated")
def test_isolated(recipe, logged):
    done = logged.make("isolated", f"RECIPE={recipe.name}")
    assert done.returncode == 0 and " ok " in done.stdout, done.stdout + done.stderr


@pytest.mark.verify("isolated", recipe="circle_area")
def test_a_package_that_was_not_logged_is_missed(tmp_path, monkeypatch):
    """An import that the requirements don't name is noticed."""
    copy = new(find("circle_area"), tmp_path / "tank_volume")
    code = copy / "model_code.py"
    code.write_text(
        code.read_text().replace("import mlflow\n", "import cv2\nimport mlflow\n")
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/test.db")
    subprocess.run([sys.executable, "driver.py"], cwd=copy, check=True)
    recipe = Recipe(copy)
    assert find_faults(recipe.path, answer(recipe)) == []
    with pytest.raises(CookbookError, match="No module named 'cv2'"):
        answer(recipe, env_manager="uv")


@pytest.mark.verify("dockerfile")
def test_dockerfile(recipe, logged):
    """The folder for docker holds the model, and nothing of this machine."""
    done = logged.make("dockerfile", f"RECIPE={recipe.name}")
    assert done.returncode == 0 and "docker build" in done.stdout, (
        done.stdout + done.stderr
    )
    made = logged.checkout / "build/docker" / recipe.name
    assert "COPY model_dir /opt/ml/model" in (made / "Dockerfile").read_text()
    model = made / "model_dir"
    copied = {path.relative_to(model) for path in model.rglob("*")}
    stored = {
        path.relative_to(logged.folder(recipe))
        for path in logged.folder(recipe).rglob("*")
    }
    assert Path("MLmodel") in stored <= copied
    assert str(logged.checkout) not in (made / "Dockerfile").read_text()
