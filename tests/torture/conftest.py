"""What the tests under attack share: where the logged models are, and the counts that are kept."""

import json
from collections import Counter

import pytest
from filelock import FileLock

from shared.recipes import ROOT, discover
from tests.torture.hostile import asks_a_table


def pytest_generate_tests(metafunc):
    """`make torture` loads each recipe's server, `make test` that of the first recipe only."""
    if "loaded" in metafunc.fixturenames:
        many = metafunc.config.getoption("--cases")
        recipes = discover() if many else discover()[:1]
        recipes = [each for each in recipes if asks_a_table(each.json("request.json"))]
        metafunc.parametrize("loaded", recipes, ids=lambda recipe: recipe.name)


@pytest.fixture(scope="session")
def checkout(request):
    """Where `make log-all` was run: here, before `make torture`; else the tests' own checkout."""
    return ROOT if request.config.getoption("--cases") else request.getfixturevalue("logged")[0]


@pytest.fixture(scope="session")
def folder(checkout):
    """Return a function: the folder of a recipe's model."""
    rows = json.loads((checkout / "build/log-all.json").read_text())
    places = {
        row["recipe"]: checkout / ".mlflow/artifacts/models" / row["model_id"] for row in rows
    }
    return lambda recipe: places[recipe.name] / "artifacts"


@pytest.fixture
def counts(request):
    """What came of a test's cases; summed up in build/torture.json under the test's own name."""
    found: Counter[str] = Counter()
    yield found
    name = request.node.originalname.removeprefix("test_").replace("_", " ")
    recipe = request.node.callspec.id if hasattr(request.node, "callspec") else "all"
    path = ROOT / "build" / "torture.json"
    path.parent.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        kept = json.loads(path.read_text()) if path.is_file() else {}
        kept.setdefault(name, {})[recipe] = dict(sorted(found.items()))
        path.write_text(json.dumps(kept, indent=2) + "\n")


@pytest.fixture
def cases(request):
    """Return a function: how many cases of a kind to try, and how many in `make torture`."""
    asked = request.config.getoption("--cases")
    return lambda few, many: few if not asked else max(1, many * asked // 10_000)
