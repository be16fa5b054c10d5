"""The contract that every recipe keeps, held over each one that is discovered."""

import ast
import re
import sys

from shared.recipes import FILES, ROOT, discover

import pytest
from mlflow.models import Model
from mlflow.models.utils import _enforce_schema

from benchmarks import report

RECIPES = discover()
every_recipe = pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda recipe: recipe.name
)
LOCK = dict(
    re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "locks/dev.txt").read_text(), re.M)
)


def tree(recipe, file="model_code.py"):
    return ast.parse((recipe.path / file).read_text(encoding="utf-8"))


def imported(node):
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (alias.name.split(".")[0] for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            yield "." if part.level else str(part.module).split(".")[0]


def model_classes(recipe):
    """Return the classes of model_code.py that have a `predict`."""
    for node in tree(recipe).body:
        if isinstance(node, ast.ClassDef):
            methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
            if "predict" in methods:
                yield node, methods


@every_recipe
def test_has_its_files_and_front_matter(recipe):
    said = recipe.front_matter
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", recipe.name)
    assert [file for file in FILES if not (recipe.path / file).is_file()] == []
    assert {"title", "summary", "teaches"} <= said.keys()
    assert said.keys() <= {
        "title",
        "summary",
        "teaches",
        "order",
        "level",
        "runs_with",
        "search",
    }
    assert said.get("level", "further") == "further" and ("order" in said) != (
        "level" in said
    )
    assert {"predictions", "output"} & recipe.json(
        "response.json"
    ).keys()  # an agent's: output
    bodies = {"dataframe_split", "dataframe_records", "inputs", "input"}
    assert bodies & recipe.json("request.json").keys()


def test_the_story_comes_in_its_order():
    story = [
        "circle_area",
        "clv_composite",
        "canny_edge_qc",
        "pc_causal_discovery",
        "openai_call",
    ]
    story.append("reference_qa")
    orders = [(recipe.name, recipe.front_matter.get("order")) for recipe in RECIPES]
    assert orders[: len(story)] == list(
        zip(story, range(1, len(story) + 1), strict=True)
    )


@every_recipe
def test_page_has_its_parts_in_order(recipe):
    """Result, how to copy it, how to call it; then the code."""
    page = (recipe.path / "README.md").read_text(encoding="utf-8")
    parts = [
        f"```bash\nmake log RECIPE={recipe.name}\n```",
        "<!-- output -->\n```text\n",
        "## When you copy it\n",
        "<!-- code: model_code.py -->",
        "<!-- code: driver.py -->",
    ]
    at = [page.find(part) for part in parts]
    assert -1 not in at and at == sorted(at), dict(zip(parts, at, strict=True))
    assert len(re.findall(r"^curl --json .*/invocations$", page, re.M)) == 1
    assert len(re.findall(r"^```python\n[^`]*/invocations[^`]*```", page, re.M)) == 1
    steps = re.search(r"^## When you copy it\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", steps, re.M)]
    assert numbers == list(range(1, len(numbers) + 1)) and 1 <= len(numbers) <= 6
    assert (ROOT / f"tests/copies/{recipe.name}.yaml").is_file(), (
        "a test performs the steps"
    )


@every_recipe
def test_the_lesson_comes_before_the_checks(recipe):
    """Whoever stops below the class has read the model, and no error handling."""
    body = tree(recipe).body
    names = [node.name for node, _ in model_classes(recipe)]
    first = next(
        number for number, node in enumerate(body) if getattr(node, "name", "") in names
    )
    for node in body[:first]:
        raises = any(isinstance(part, ast.Raise) for part in ast.walk(node))
        assert not (isinstance(node, ast.FunctionDef) and raises), node.name


@every_recipe
def test_model_code_opens_with_what_it_is_for(recipe):
    assert ast.get_docstring(tree(recipe))


@every_recipe
def test_predict_is_typed(recipe):
    classes = list(model_classes(recipe))
    assert classes, "a class with a predict method"
    for _, methods in classes:
        arguments = methods["predict"].args.args[1:]
        assert all(argument.annotation for argument in arguments)
        assert methods["predict"].returns


def test_packages_that_travel_have_unique_names():
    """In one process, two packages of one name would both be the first one's code."""
    names = [
        path.parent.name
        for recipe in RECIPES
        for path in recipe.path.glob("*/__init__.py")
    ]
    assert len(names) == len(set(names))
    assert not set(names) & (set(LOCK) | sys.stdlib_module_names | {"shared"})


def test_helpers_import_no_recipe_and_stay_small():
    for path in (ROOT / "shared").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "recipes" not in imported(ast.parse(source)), path.name


@every_recipe
def test_pins_equal_the_lock(recipe):
    for file in recipe.path.glob("requirements*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            pin = line.split("#")[0].strip()
            if not pin or pin.startswith("-r "):
                continue
            name, _, version = pin.partition("==")
            locks = "".join(path.read_text() for path in (ROOT / "locks").glob("*.txt"))
            assert re.search(
                rf"^{re.escape(name)}=={re.escape(version)} ", locks, re.M | re.I
            ), pin


def calls(recipe, file):
    """Return the calls in a file of the recipe as (name, node), from top to bottom."""
    found = [
        node for node in ast.walk(tree(recipe, file)) if isinstance(node, ast.Call)
    ]
    found.sort(key=lambda call: call.lineno)
    return [(ast.unparse(call.func), call) for call in found]


@every_recipe
def test_driver_shows_the_lesson(recipe):
    found = calls(recipe, "driver.py")
    needed = {"name", "python_model", "input_example", "pip_requirements"}
    bases = [
        ast.unparse(base) for node, _ in model_classes(recipe) for base in node.bases
    ]
    if "Agent" not in str(bases):
        needed.add("signature")
    logged = [call for name, call in found if name == "mlflow.pyfunc.log_model"]
    assert logged
    for call in logged:
        assert needed <= {word.arg for word in call.keywords}
    described = [call.args[1] for name, call in found if name == "recipe_run"]
    assert described and all(ast.unparse(text) != "__doc__" for text in described)
    assert "report" in [name for name, _ in found]


@every_recipe
def test_driver_registers_last(recipe):
    """A run that fails leaves no version behind."""
    for name, call in calls(recipe, "driver.py"):
        assert "registered_model_name" not in {word.arg for word in call.keywords}, name
    names = [
        name for name, _ in calls(recipe, "driver.py") if name.startswith("mlflow.")
    ]
    assert names[-1] == "mlflow.register_model"
    registered = [
        ast.unparse(call.args[1])
        for name, call in calls(recipe, "driver.py")
        if name == "mlflow.register_model"
    ]
    assert "NAME" in registered
    assert f'\nNAME = "{recipe.name}"\n' in (recipe.path / "driver.py").read_text()


@every_recipe
def test_the_logged_signature_is_the_drivers(folder, recipe):
    """No type hint has replaced it, and the known answer has the types it says."""
    driver = (recipe.path / "driver.py").read_text(encoding="utf-8")
    model = Model.load(folder(recipe))
    if "signature=SIGNATURE" in driver:
        assert not model._is_signature_from_type_hint()
        outputs = model.signature.outputs
        _enforce_schema(recipe.json("response.json")["predictions"], outputs)


@every_recipe
def test_readme_shows_what_the_driver_prints(logged, recipe):
    page = (recipe.path / "README.md").read_text()
    block = re.search(r"<!-- output -->\n```text\n(.*?)\n```", page, re.S)
    assert block, "README.md shows the output near its top"
    said = (logged / f"build/log/{recipe.name}.txt").read_text()
    said_lines = {re.sub(r"\s+", " ", line).strip() for line in said.splitlines()}
    shown = [re.sub(r"\s+", " ", line).strip() for line in block[1].splitlines()]
    stale = [line for line in shown if line and line not in said_lines]
    assert not stale, f"put the output in again, from build/log/{recipe.name}.txt"


def test_no_registry_or_address_in_what_pins():
    for path in [*ROOT.glob("locks/*"), *ROOT.glob("recipes/*/requirements*.txt")]:
        assert "://" not in path.read_text(encoding="utf-8"), path


def test_readme_table_lists_every_recipe():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        title = recipe.front_matter["title"]
        assert f"| [{recipe.name}](recipes/{recipe.name}/) | {title} |" in readme


def test_a_measurement_is_shown_with_its_origin_and_age(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    measured = ["recipes/circle_area", "benchmarks/serving.py"]
    more = {"tables": {"Speed": [{"n": 10, "s": 0.123456}]}, "measured": measured}
    shown = "**Speed**\n\n| n | s |\n| --- | --- |\n| 10 | 0.12 |\n\n"
    shown += "*Made by `make bench RECIPE="
    for digest, changed in (("old", True), (report.digest(measured), False)):
        report.keep(tmp_path / "x.json", {"mlflow"}, digest, **more)
        page = report.page("x")
        assert (
            page.startswith(f"{shown}serving` on 20")
            and f"mlflow {LOCK['mlflow']}." in page
        )
        assert ("has changed since" in page) == changed and "seconds vary" in page
    assert report.page("y") == "*Not measured yet: `make bench RECIPE=y`.*"
