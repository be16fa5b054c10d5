"""The model alone, in an environment made only from its own requirements."""

import shutil
import subprocess
import sys

from shared.known_answer import find_faults
from shared.new import write_starter
from shared.recipes import CookbookError, Recipe, find
from shared.smoke import ask_elsewhere, check_isolated

import pytest

from tests.conftest import make

pytestmark = pytest.mark.verify


def test_isolated(recipe, logged):
    done = make(logged, "isolated", f"RECIPE={recipe.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{recipe.name} ok" in done.stdout


def test_a_package_that_was_not_logged_is_missed(tmp_path, monkeypatch, capfd):
    recipe = Recipe(write_starter(find("circle_area"), tmp_path / "tank_volume"))
    shutil.copy(find("circle_area").path / "README.md", recipe.path)  # front matter
    code = recipe.path / "model_code.py"
    code.write_text(code.read_text().replace("import mlflow", "import cv2, mlflow", 1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/test.db")
    subprocess.run([sys.executable, "driver.py"], cwd=recipe.path, check=True)
    assert find_faults(recipe.path, ask_elsewhere(recipe)) == []
    with pytest.raises(CookbookError, match="did not answer"):
        check_isolated(recipe)
    assert "No module named 'cv2'" in capfd.readouterr().err
