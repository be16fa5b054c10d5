"""`make verify`: every recipe in every way to use it.

A test that takes a `recipe` is run for each one, or for that of RECIPE=<name>.
"""

import os
import subprocess
from pathlib import Path

from shared.recipes import Recipe, discover, find

import pytest

from tests.conftest import environment, make, only, summary


def typed(checkout: Path, lines: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run lines of a guide in the checkout, as they are printed."""
    shell = f'make() {{ command make -s -o .venv/.recipes "$@"; }}\n{lines}'
    variables = environment(checkout, **more)
    return subprocess.run(
        ["bash", "-ec", shell],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
    )


def chosen() -> list[Recipe]:
    name = os.environ.get("RECIPE")
    return [find(name)] if name else discover()


@pytest.fixture(scope="session")
def logged(fresh_checkout) -> Path:
    """Return a checkout of the chosen recipes after `make log-all`."""
    checkout = only(fresh_checkout("verify"), *[recipe.name for recipe in chosen()])
    done = make(checkout, "log-all")
    assert (checkout / "build/log-all.json").is_file(), done.stdout + done.stderr
    return checkout


@pytest.fixture(autouse=True)
def _recipe_is_logged(request):
    """Fail with the error of a recipe that `make log-all` could not log."""
    if {"recipe", "logged"} <= {*request.fixturenames}:
        recipe = request.getfixturevalue("recipe")
        rows = summary(request.getfixturevalue("logged"))
        (row,) = (row for row in rows if row["recipe"] == recipe.name)
        assert row["status"] == "ok", row["error"]


def pytest_generate_tests(metafunc):
    if "recipe" in metafunc.fixturenames:
        metafunc.parametrize("recipe", chosen(), ids=lambda recipe: recipe.name)
