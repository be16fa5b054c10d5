"""`make verify`: every recipe in every way to use it.

A test marked `verify("isolated")` that takes a `recipe` is a cell for each recipe,
without one it is of the recipe that its mark names: `verify("registry",
recipe="circle_area")`.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.recipes import CookbookError, Recipe, discover, find

import pandas as pd
import pytest

from tests.conftest import environment, make, only, store

CELLS: dict[tuple[str, str], dict] = {}


@dataclass(frozen=True)
class Logged:
    """A fresh checkout in which the recipes were logged."""

    checkout: Path

    @property
    def store(self) -> str:
        return store(self.checkout)["MLFLOW_TRACKING_URI"]

    def uri(self, recipe: Recipe) -> str:
        """Return models:/m-<id> of what was logged."""
        rows = json.loads((self.checkout / "build/log-all.json").read_text())
        row = next(row for row in rows if row["recipe"] == recipe.name)
        assert row["status"] == "ok", f"{recipe.name} was not logged: {row['error']}"
        return row["model_uri"]

    def folder(self, recipe: Recipe) -> Path:
        """Return the logged model's files (MLmodel, requirements.txt, ...)."""
        return (
            self.checkout
            / ".mlflow/artifacts/models"
            / self.uri(recipe)[8:]
            / "artifacts"
        )

    def typed(self, lines: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run lines of a guide in the checkout, as they are printed."""
        make = "make() { command make --no-print-directory "
        make += '--assume-old=.venv/.recipes "$@"; }'
        words, env = (
            ["bash", "-ec", f"{make}\n{lines}"],
            environment(self.checkout, **more),
        )
        return subprocess.run(
            words, cwd=self.checkout, env=env, capture_output=True, text=True
        )

    def make(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run make as typed."""
        return make(self.checkout, *words, **more)


@pytest.fixture(scope="session")
def logged(fresh_checkout, pytestconfig) -> Logged:
    """Return what `make log-all` made in a fresh checkout."""
    made = Logged(only(fresh_checkout("verify"), *chosen(pytestconfig)))
    made.make("log-all")
    return made


def pytest_addoption(parser):
    parser.addoption("--recipe", default="", help="only this recipe's cells")
    parser.addoption("--way", default="", help="only this way's cells")


def pytest_configure(config):
    """Say what is unknown before any worker starts."""
    chosen(config)
    if way := config.getoption("--way", ""):
        sources = map(Path.read_text, Path(__file__).parents[1].rglob("test_*.py"))
        known = set(re.findall(r'mark\.verify\("(.+?)"', "".join(sources)))
        if way not in known:
            raise pytest.UsageError(
                f"no way {way!r}; known: {', '.join(sorted(known))}"
            )


def chosen(config) -> list[str]:
    only = config.getoption("--recipe", "")
    try:
        return [find(only).name] if only else [recipe.name for recipe in discover()]
    except CookbookError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc):
    if "recipe" in metafunc.fixturenames:
        recipes = [
            recipe for recipe in discover() if recipe.name in chosen(metafunc.config)
        ]
        metafunc.parametrize("recipe", recipes, ids=lambda recipe: recipe.name)


def pytest_collection_modifyitems(config, items):
    kept, dropped = [], []
    for item in items:
        if mark := item.get_closest_marker("verify"):
            (way,) = mark.args
            recipe = mark.kwargs.get("recipe", "all")
            if recipe == "all" and hasattr(item, "callspec"):
                recipe = item.callspec.id  # one parameter, the recipe
            item.user_properties.append(("cell", [recipe, way]))
            only_recipe, only_way = (
                config.getoption(o, "") for o in ("--recipe", "--way")
            )
            if only_recipe not in ("", recipe) or only_way not in ("", way):
                dropped.append(item)
                continue
        kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def pytest_runtest_logreport(report):
    if where := dict(report.user_properties).get("cell"):
        cell = CELLS.setdefault(tuple(where), {"status": "ok", "seconds": 0.0})
        if (
            report.when == "call"
        ):  # what several cells share (setup) is in the run's total only
            cell["seconds"] += report.duration
        if report.outcome != "passed":  # a skipped cell is no proof either
            said = report.longreprtext.strip().splitlines() or [report.outcome]
            errors = [
                line[1:].strip() for line in said if line.startswith("E ")
            ] or said[-1:]
            cell |= {"status": "failed", "error": errors[0]}


def pytest_terminal_summary(terminalreporter):
    """Print the matrix, and for what failed why, and how to run it again."""
    if CELLS:
        shown = {
            where: f"{c['status']} {c['seconds']:.1f}" for where, c in CELLS.items()
        }
        terminalreporter.section("recipe x way, seconds")
        terminalreporter.line(pd.Series(shown).unstack(fill_value="").to_string())
    for (recipe, way), cell in CELLS.items():
        if cell["status"] == "failed":
            only = "" if recipe == "all" else f"RECIPE={recipe} "
            terminalreporter.line(f"\n{recipe}, {way}: {cell['error']}")
            terminalreporter.line(f"run it again: make verify {only}WAY='{way}'")
