"""The driver logs in an empty store; what it logged gives the known answer in a new
process, and check-model finds no error in it."""

import subprocess
import sys
from pathlib import Path

from shared.recipes import Recipe
from shared.smoke import answer, check_contract, find_faults

import pytest

HERE = Path(__file__).parent


def test_known_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/test.db")
    subprocess.run([sys.executable, HERE / "driver.py"], cwd=tmp_path, check=True)
    recipe = Recipe(HERE)
    assert find_faults(recipe, answer(recipe)) == []
    assert check_contract(recipe) == 0
