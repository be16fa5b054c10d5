"""`make verify`: every recipe in every way to use it.

A test that takes a `recipe` is run for each one, or for that of RECIPE=<name>.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.recipes import Recipe, discover, find

import pytest

from tests.conftest import environment, make, only, store


@dataclass(frozen=True)
class Logged:
    """A checkout in which recipes are logged."""

    checkout: Path

    @property
    def store(self) -> str:
        return store(self.checkout)["MLFLOW_TRACKING_URI"]

    def model_id(self, recipe: Recipe) -> str:
        rows = json.loads((self.checkout / "build/log-all.json").read_text())
        row = next(row for row in rows if row["recipe"] == recipe.name)
        assert row["status"] == "ok", f"{recipe.name} was not logged: {row['error']}"
        return row["model_id"]

    def folder(self, recipe: Recipe) -> Path:
        """Return the logged model's files (MLmodel, requirements.txt, ...)."""
        models = self.checkout / ".mlflow/artifacts/models"
        return models / self.model_id(recipe) / "artifacts"

    def typed(self, lines: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run lines of a guide in the checkout, as they are printed."""
        shell = f'make() {{ command make -s -o .venv/.recipes "$@"; }}\n{lines}'
        variables = environment(self.checkout, **more)
        return subprocess.run(
            ["bash", "-ec", shell],
            cwd=self.checkout,
            env=variables,
            capture_output=True,
            text=True,
        )

    def printed(self, lines: str) -> str:
        """Run lines of a guide that end well; return what they print."""
        done = self.typed(lines)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run make as typed."""
        return make(self.checkout, *words, **more)


def chosen() -> list[Recipe]:
    name = os.environ.get("RECIPE")
    return [find(name)] if name else discover()


@pytest.fixture(scope="session")
def logged(fresh_checkout) -> Logged:
    """Return what `make log-all` made in a fresh checkout of the chosen recipes."""
    names = [recipe.name for recipe in chosen()]
    checkout = Logged(only(fresh_checkout("verify"), *names))
    checkout.make("log-all")
    return checkout


def pytest_generate_tests(metafunc):
    if "recipe" in metafunc.fixturenames:
        metafunc.parametrize("recipe", chosen(), ids=lambda recipe: recipe.name)
