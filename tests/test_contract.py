"""The contract that every recipe keeps, held over each one that is discovered."""

import ast
import re
import sys

from shared import recipes
from shared.recipes import FILES, ROOT, discover

import pytest
from mlflow.models import Model
from mlflow.models.utils import _enforce_schema

from benchmarks import report

RECIPES = discover()
every_recipe = pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda recipe: recipe.name
)
KEYS = {"title", "summary", "teaches", "order", "level", "runs_with", "search"}


def tree(recipe, file="model_code.py"):
    return ast.parse((recipe.path / file).read_text(encoding="utf-8"))


def model_classes(recipe):
    """Return the classes of model_code.py that have a `predict`, and that method."""
    return {
        node: method
        for node in tree(recipe).body
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if getattr(method, "name", "") == "predict"
    }


def calls(recipe, file="driver.py"):
    """Return the calls in a file of the recipe as (name, node), from top to bottom."""
    nodes = [
        node for node in ast.walk(tree(recipe, file)) if isinstance(node, ast.Call)
    ]
    nodes.sort(key=lambda call: call.lineno)
    return [(ast.unparse(call.func), call) for call in nodes]


def is_agent(recipe):
    """Tell whether the model is a ResponsesAgent, whose signature MLflow gives."""
    bases = [ast.unparse(base) for node in model_classes(recipe) for base in node.bases]
    return "Agent" in str(bases)


def readme(recipe):
    return (recipe.path / "README.md").read_text(encoding="utf-8")


@every_recipe
def test_has_its_files_and_front_matter(recipe):
    front_matter = recipe.front_matter
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", recipe.name)
    files = [recipe.path / file for file in FILES]
    files.append(ROOT / "tests" / "copies" / f"{recipe.name}.yaml")
    assert [file for file in files if not file.is_file()] == []
    assert {"title", "summary", "teaches"} <= front_matter.keys() <= KEYS
    assert ("order" in front_matter) != (front_matter.get("level") == "further")
    answer = recipe.json("response.json")
    assert {"predictions", "output"} & answer.keys()  # an agent's: output
    bodies = {"dataframe_split", "dataframe_records", "inputs", "input"}
    assert bodies & recipe.json("request.json").keys()
    row = f"| [{recipe.name}](recipes/{recipe.name}/) | {front_matter['title']} |"
    assert row in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "slip, message",
    [
        ("summary: A\ntitle: A: B", "3: mapping values"),
        ("summary: \0", "1: begin with front matter: --- title: ... --- (unaccept"),
        ("summary: A\norder: first", "`order` is a number"),
        ("title: A", "it needs a `summary`"),
    ],
)
def test_a_slip_in_one_page_stops_that_recipe_only(
    slip, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(recipes, "ROOT", tmp_path)
    for name, text in (("bad", slip), ("good", "summary: good")):
        (tmp_path / "recipes" / name).mkdir(parents=True)
        (tmp_path / "recipes" / name / "model_code.py").touch()
        page = tmp_path / "recipes" / name / "README.md"
        page.write_text(f"---\n{text}\n---\n")
    recipes.print_recipes()
    good, bad = capsys.readouterr().out.splitlines()
    assert good.split() == ["good", "good"]
    assert f"{tmp_path}/recipes/bad/README.md:" in bad and message in bad
    assert recipes.all_services() == []


@every_recipe
def test_page_has_its_parts_in_order(recipe):
    """Result, how to copy it, how to call it; then the code."""
    page = readme(recipe)
    parts = [
        f"```bash\nmake log RECIPE={recipe.name}\n```",
        "<!-- output -->\n```text\n",
        "## When you copy it\n",
        "<!-- code: model_code.py -->",
        "<!-- code: driver.py -->",
    ]
    places = [page.find(part) for part in parts]
    assert -1 not in places and places == sorted(places)
    assert len(re.findall(r"^curl --json .*/invocations$", page, re.M)) == 1
    assert len(re.findall(r"^```python\n[^`]*/invocations[^`]*```", page, re.M)) == 1


@every_recipe
def test_the_lesson_comes_before_the_checks(recipe):
    """Whoever stops below the class has read the model, and no error handling."""
    assert ast.get_docstring(tree(recipe)), "what the model is for"
    first_class = min(node.lineno for node in model_classes(recipe))
    for node in tree(recipe).body:
        if isinstance(node, ast.FunctionDef) and node.lineno < first_class:
            raises = any(isinstance(part, ast.Raise) for part in ast.walk(node))
            assert not raises, node.name


def test_packages_that_travel_have_unique_names():
    """In one process, two packages of one name would both be the first one's code."""
    packages = (ROOT / "recipes").glob("*/*/__init__.py")
    names = [path.parent.name for path in packages]
    lock = (ROOT / "locks/dev.txt").read_text()
    installed = {*re.findall(r"^([\w.-]+)==", lock, re.M), *sys.stdlib_module_names}
    assert len(names) == len(set(names)) and not {"shared", *installed} & set(names)


def test_helpers_import_no_recipe():
    for path in (ROOT / "shared").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) recipes\b", source, re.M), path.name


@every_recipe
def test_pins_equal_the_lock(recipe):
    locks = "".join(path.read_text() for path in (ROOT / "locks").glob("*.txt"))
    for file in recipe.path.glob("requirements*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            pin = line.split("#")[0].strip()
            if pin and not pin.startswith("-r "):
                assert re.search(rf"^{re.escape(pin)} ", locks, re.M | re.I), pin


@every_recipe
def test_driver_shows_the_lesson_and_registers_last(recipe):
    """A run that fails leaves no version behind."""
    called = calls(recipe)
    needed = {"name", "python_model", "input_example", "pip_requirements"}
    if not is_agent(recipe):
        needed.add("signature")
    logged = [call for name, call in called if name == "mlflow.pyfunc.log_model"]
    assert logged and "report" in dict(called)
    for call in logged:
        words = {word.arg for word in call.keywords}
        assert needed <= words and "registered_model_name" not in words
    described = [ast.unparse(call.args[1]) for n, call in called if n == "recipe_run"]
    assert described and "__doc__" not in described
    name, register = [pair for pair in called if pair[0].startswith("mlflow.")][-1]
    assert name == "mlflow.register_model"
    assert ast.unparse(register.args[1]) == "NAME"
    assert f'\nNAME = "{recipe.name}"\n' in (recipe.path / "driver.py").read_text()


@every_recipe
def test_the_logged_signature_is_the_drivers(folder, recipe):
    """No type hint has replaced it, and the known answer has the types it says."""
    model = Model.load(folder(recipe))
    if not is_agent(recipe):
        assert not model._is_signature_from_type_hint()
        outputs = model.signature.outputs
        _enforce_schema(recipe.json("response.json")["predictions"], outputs)


@every_recipe
def test_readme_shows_what_the_driver_prints(logged, recipe):
    def lines(text: str) -> list[str]:
        return [" ".join(line.split()) for line in text.splitlines()]

    shown = re.search(r"<!-- output -->\n```text\n(.*?)\n```", readme(recipe), re.S)[1]
    printed = lines((logged / f"build/log/{recipe.name}.txt").read_text())
    stale = [line for line in lines(shown) if line and line not in printed]
    assert not stale, f"put the output in again, from build/log/{recipe.name}.txt"


def test_no_registry_or_address_in_what_pins():
    for path in [*ROOT.glob("locks/*"), *ROOT.glob("recipes/*/requirements*.txt")]:
        assert "://" not in path.read_text(encoding="utf-8"), path


def test_a_measurement_is_shown_with_its_origin_and_age(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    measured = ["recipes/circle_area"]
    more = {"tables": {"Speed": [{"n": 10, "s": 0.123456}]}, "made_by": "serving"}
    more["measured"] = measured
    table = "**Speed**\n\n| n | s |\n| --- | --- |\n| 10 | 0.12 |\n\n"
    table += "*Made by `make bench RECIPE=serving` on 20"
    for digest, changed in (("old", True), (report.digest(measured), False)):
        report.keep(tmp_path / "x.json", {"mlflow"}, digest, **more)
        page = report.page("x")
        assert page.startswith(table) and "mlflow 3." in page
        assert ("has changed since" in page) == changed and "seconds vary" in page
    assert report.page("y") == "*Not measured yet: `make bench RECIPE=y`.*"
