"""`make new`: what the starter holds, that it runs on its own, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from shared.new import write_starter
from shared.recipes import FILES, ROOT, WARNINGS, CookbookError, Recipe, find

import pytest

from tests.conftest import environment, make, run
from tests.test_contract import every_recipe


@every_recipe
def test_starter_is_whole_and_under_its_own_name(recipe, tmp_path):
    starter = write_starter(recipe, tmp_path / "tank_volume")
    for file in [*FILES, "Makefile", ".gitignore", "test_tank_volume.py"]:
        assert (starter / file).is_file(), file
    assert "class TankVolume(" in (starter / "model_code.py").read_text()
    assert f"the cookbook's {recipe.name} recipe" in (starter / "README.md").read_text()
    for source in starter.glob("**/*.py"):
        text = source.read_text()
        assert source.parent.name == "shared" or "recipes/" not in text
        compile(text, source, "exec")
    driver = (starter / "driver.py").read_text()
    assert not re.search(rf"\b{recipe.name}\b", driver)
    assert driver.count('NAME = "tank_volume"') == 1
    packages = {path.parent.name for path in recipe.path.glob("*/__init__.py")}
    assert not any((starter / package).exists() for package in packages)


def run_python(
    folder: Path, *words: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in the folder."""
    return run([sys.executable, *WARNINGS, *words], folder, {**os.environ, **more})


def test_starter_runs_beside_its_helpers(tmp_path):
    """The driver and the check, in this environment."""
    starter = write_starter(
        find("circle_area"), tmp_path / "tank volume" / "tank_volume"
    )
    done = run_python(starter, "driver.py")
    assert done.returncode == 0, done.stderr
    assert (starter / ".mlflow/mlflow.db").is_file(), "its runs are its own"
    response = json.loads((starter / "response.json").read_text())
    response["predictions"][1]["area"] = 4.0
    (starter / "response.json").write_text(json.dumps(response))
    check = ["-m", "shared.known_answer", "models:/tank_volume/latest"]
    wrong = run_python(starter, *check)
    assert wrong.returncode == 1 and ".predictions[1].area: got 0.785" in wrong.stdout
    accepted = run_python(starter, *check, "--accept", YES="1")
    assert accepted.returncode == 0, accepted.stderr
    expected = json.loads((starter / "response.json").read_text())
    assert expected["predictions"][1]["area"] == pytest.approx(0.785398)
    assert expected["tolerance"] == response["tolerance"]

    (starter / "model_code.py").write_text("import no_such_module\n")
    failed = run_python(starter, "driver.py")
    (line,) = failed.stderr.strip().splitlines()
    assert failed.returncode == 1 and "no_such_module" in line
    assert "Traceback" in Path(line.rpartition("the traceback: ")[2]).read_text()


def test_a_column_may_have_the_name_of_the_recipe(tmp_path):
    recipe = Recipe(tmp_path / "area")
    shutil.copytree(ROOT / "recipes/circle_area", recipe.path)
    driver = recipe.path / "driver.py"
    driver.write_text(driver.read_text().replace("circle_area", "area"))
    starter = write_starter(recipe, tmp_path / "tank_volume")
    assert 'ColSpec(DataType.double, "area")' in (starter / "driver.py").read_text()
    assert '{"area": area(diameter)}' in (starter / "model_code.py").read_text()


def test_a_new_recipe_is_green_from_the_start(fresh_checkout):
    """CONTRIBUTING.md's commands, and the tests of the new recipe.

    `make verify` has it in each way to use it, as every recipe.
    """
    checkout = fresh_checkout("newcomer")
    page = (checkout / "CONTRIBUTING.md").read_text().replace("bmi", "newcomer")
    first, second = re.findall(r"^\d\. `(make .*newcomer)`", page, re.M)
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{checkout}/newcomer.db"}
    for line in (first, second, "make register list RECIPE=newcomer"):
        done = make(checkout, "-o", ".venv/.check", *line.split()[1:], **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^newcomer +Newcomer, in a sentence", done.stdout, re.M)
    new_code = ["recipes/newcomer", "tests/test_newcomer.py"]
    for check in (["check"], ["format", "--check"]):
        subprocess.run([".venv/bin/ruff", *check, *new_code], cwd=checkout, check=True)
    tests = [
        f"tests/test_{name}.py" for name in ("contract", "newcomer", "copies", "new")
    ]
    which = "(newcomer or short) and not (logged or prints)"
    words = [sys.executable, "-m", "pytest", "-n", "0", *tests, "-k", which]
    done = run(words, checkout, environment(checkout))
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "name, to, message",
    [
        ("circle_area", "there", "is there already"),
        ("circle_area", "Tank-Volume", "no name for a recipe"),
        ("circle_area", "json", "a word of Python or an installed package"),
        ("circle_area", "none", "its class would be None, a name of Python"),
        ("circle_area", "true", "its class would be True, a name of Python"),
        ("circle_area", "value_error", "its class would be ValueError, a name of"),
        ("circle_area", "any", "its class would be Any, a name in model_code.py"),
        ("circle_area", "path", "its class would be Path, a name in driver.py"),
        ("graph_agent", "shop", "its class would be Shop, a name in model_code.py"),
    ],
)
def test_refuses(name, to, message, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(CookbookError, match=message):
        write_starter(find(name), tmp_path / to)
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]
