"""`make new`: what the starter holds, that it runs on its own, and what is refused."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from shared.new import new
from shared.recipes import FILES, ROOT, WARNINGS, CookbookError, Recipe, find

import pytest

from tests.conftest import environment, make
from tests.test_contract import every_recipe


def run(folder, *words, **more):
    """Run this interpreter in the folder."""
    typed, env = [sys.executable, *WARNINGS, *words], {**os.environ, **more}
    return subprocess.run(typed, cwd=folder, env=env, capture_output=True, text=True)


@every_recipe
def test_starter_is_whole_and_under_its_own_name(recipe, tmp_path):
    to = new(recipe, tmp_path / "tank_volume")
    assert [
        file for file in [*FILES, "Makefile", ".gitignore"] if not (to / file).is_file()
    ] == []
    assert (to / "test_tank_volume.py").is_file()
    assert "class TankVolume(" in (to / "model_code.py").read_text()
    assert f"the cookbook's {recipe.name} recipe" in (to / "README.md").read_text()
    own = [source for source in to.rglob("*.py") if source.parent.name != "shared"]
    for source in [*own, to / "requirements-driver.txt"]:
        text = source.read_text()
        assert "recipes/" not in text
        compile(text, source, "exec") if source.suffix == ".py" else None
    driver = (to / "driver.py").read_text()
    assert not re.search(rf"\b{recipe.name}\b", driver)
    assert driver.count('NAME = "tank_volume"') == 1
    ours = {package.parent.name for package in recipe.path.glob("*/__init__.py")}
    assert not ours & {package.parent.name for package in to.glob("*/__init__.py")}
    helpers = {path.name for path in (to / "shared").iterdir()}
    service = recipe.front_matter.get("runs_with")
    frame = {"__init__.py", "known_answer.py", "run.py", "store.py"}
    frame |= {"check.py", "check_files.py", "check_answers.py", "check.md"}
    services = {f"{service}.py", "local_llm.py"} if service else set()
    assert helpers == frame | services
    asked = "".join(path.read_text() for path in to.glob("requirements*.txt"))
    for path in recipe.path.glob("requirements*.txt"):
        assert [
            line for line in path.read_text().splitlines() if line not in asked
        ] == []


def test_starter_runs_beside_its_helpers(tmp_path):
    """The driver and the check, in this environment."""
    to = new(find("circle_area"), tmp_path / "tank volume" / "tank_volume")
    driven = run(to, "driver.py")
    assert driven.returncode == 0, driven.stderr
    assert (to / ".mlflow/mlflow.db").is_file(), "its runs are its own"
    response = json.loads((to / "response.json").read_text())
    response["predictions"][1]["area"] = 4.0
    (to / "response.json").write_text(json.dumps(response))
    check = ["-m", "shared.known_answer", "models:/tank_volume/latest"]
    wrong = run(to, *check)
    assert wrong.returncode == 1 and ".predictions[1].area: got 0.785" in wrong.stdout
    done = run(to, *check, "--accept", YES="1")
    assert re.findall(r"^row (\d)", done.stdout, re.M) == ["1"] and done.returncode == 0
    accepted = json.loads((to / "response.json").read_text())
    assert accepted["tolerance"] == response["tolerance"]
    assert "gives the known answer" in run(to, *check).stdout
    missing = run(to, *check[:2], "models:/no_such/latest")
    assert missing.returncode == 1 and missing.stderr.endswith(
        "name=no_such not found\n"
    )

    (to / "model_code.py").write_text("import no_such_module\n")
    failed = run(to, "driver.py")
    (line,) = failed.stderr.strip().splitlines()
    assert failed.returncode == 1 and "no_such_module" in line
    assert "Traceback" in Path(line.rpartition("the traceback: ")[2]).read_text()


def test_a_column_may_have_the_name_of_the_recipe(tmp_path):
    recipe = Recipe(tmp_path / "area")
    shutil.copytree(ROOT / "recipes/circle_area", recipe.path)
    driver = recipe.path / "driver.py"
    driver.write_text(driver.read_text().replace("circle_area", "area"))
    to = new(recipe, tmp_path / "tank_volume")
    assert 'ColSpec(DataType.double, "area")' in (to / "driver.py").read_text()
    assert '{"area": area(diameter)}' in (to / "model_code.py").read_text()
    assert recipe.json("response.json") == Recipe(to).json("response.json")


def test_a_starter_carries_what_it_uses_and_no_more(tmp_path):
    recipe = Recipe(tmp_path / "bmi")
    shutil.copytree(ROOT / "recipes/circle_area", recipe.path)
    for name in (
        "plots.py",
        "beside.py",
        "data.csv",
        "unused.csv",
        "package/__init__.py",
    ):
        (recipe.path / name).parent.mkdir(exist_ok=True)
        (recipe.path / name).write_text("")
    (recipe.path / "beside.py").write_text("import package\nFILE = 'data.csv'\n")
    driver = recipe.path / "driver.py"
    driver.write_text(
        driver.read_text().replace("import mlflow\n", "import beside\nimport mlflow\n")
    )
    to = new(recipe, tmp_path / "tank_volume")
    found = {path.relative_to(to).parts[0] for path in to.rglob("*")}
    assert {"beside.py", "data.csv", "tank_volume_package"} <= found
    assert not {"plots.py", "unused.csv"} & found


def test_starters_to_download_are_what_make_new_makes(tmp_path, fresh_checkout):
    checkout, archives = fresh_checkout("starters"), []
    for _ in range(2):
        done = make(checkout, "starters")
        assert done.returncode == 0, done.stderr
        archives.append((checkout / "build/starters/circle_area.zip").read_bytes())
    assert archives[0] == archives[1]
    made = new(find("circle_area"), tmp_path / "my_model")
    files = [path for path in made.rglob("*") if path.is_file()]
    with zipfile.ZipFile(io.BytesIO(archives[0])) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files
        }


def test_a_new_recipe_is_green_from_the_start(fresh_checkout):
    """CONTRIBUTING.md's commands, and the tests of the new recipe.

    `make verify` has it in each way to use it, as every recipe.
    """
    checkout = fresh_checkout("newcomer")
    stamps = ["-o", ".venv/.check", "-o", ".venv/.spark"]
    page = (checkout / "CONTRIBUTING.md").read_text().replace("bmi", "newcomer")
    lines = (
        page.partition("## A new recipe\n\n```bash\n")[2]
        .partition("```")[0]
        .splitlines()
    )
    assert [line.split()[0] for line in lines] == ["make"] * 3
    alone = {"MLFLOW_TRACKING_URI": f"sqlite:///{checkout}/newcomer.db"}
    alone["MYPY_CACHE_DIR"] = f"{ROOT}/.mypy_cache"  # all but this was looked at before
    for line in [*lines[:2], "make check register list RECIPE=newcomer"]:
        done = make(checkout, *stamps, *line.split()[1:], **alone)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^newcomer +Newcomer, in a sentence", done.stdout, re.M)
    words = [
        "-m",
        "pytest",
        "-n",
        "0",
        "tests/test_contract.py",
        "tests/test_newcomer.py",
    ]
    words += ["tests/test_copies.py", "tests/test_new.py", "-k"]
    words += [
        "(newcomer or short or table or order) and not (logged or prints or numbers)"
    ]
    typed, env = [sys.executable, *words], environment(checkout)
    done = subprocess.run(typed, cwd=checkout, env=env, capture_output=True)
    assert done.returncode == 0 and b"passed" in done.stdout, done.stdout.decode()


@pytest.mark.parametrize(
    "to, said",
    [
        ("there", "is there already"),
        ("Tank-Volume", "no name for a recipe"),
        ("2nd", "no name for a recipe"),
        (ROOT / "recipes" / "tank_volume", "inside this repository"),
        (ROOT / "build" / ".." / "tank_volume", "inside this repository"),
    ],
)
def test_refuses(to, said, tmp_path):
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CookbookError, match=said):
        new(find("circle_area"), tmp_path / to)
    assert (
        sorted(tmp_path.rglob("*")) == before
        and not (ROOT / "recipes/tank_volume").exists()
    )


def test_make_new_says_what_comes_next(tmp_path):
    done = make(ROOT, "new", "FROM=circle_area", f"TO={tmp_path}/tank_volume")
    assert (
        done.returncode == 0
        and f"cd {tmp_path}/tank_volume && make test" in done.stdout
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tank_volume"]
