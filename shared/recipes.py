"""Find the recipes, what their READMEs say of them, and their newest models."""

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import ROOT, CookbookError
from shared.store import find_experiment, open_store

import yaml

# Warnings are errors in recipe runs; MLflow warns of its own type hints when imported.
WARNINGS = ["-W", "error", "-W", "ignore::UserWarning:mlflow.types.type_hints"]
FILES = ["README.md", "model_code.py", "driver.py", "requirements.txt"]
FILES += ["request.json", "response.json"]


@dataclass(frozen=True)
class Recipe:
    """One folder under recipes/."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def front_matter(self) -> dict[str, Any]:
        """Return what README.md says between its two `---` lines.

        Raises CookbookError with the file and the line of a slip.
        """
        file = self.path / "README.md"
        try:
            _, text, _ = file.read_text(encoding="utf-8").split("---\n", 2)
            found = dict(yaml.safe_load(f"\n{text}"))  # lines counted as in the file
            order = found.get("order", 1000)
            if not (found.get("summary") and isinstance(order, int | float)):
                raise ValueError("it needs a `summary`; `order` is a number")
            return found
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise CookbookError(f"{file}:{line}: {error.problem}") from None
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            wanted = "begin with front matter: --- title: ... ---"
            reason = str(error).splitlines()[0]
            raise CookbookError(f"{file}:1: {wanted} ({reason})") from None

    @property
    def service_command(self) -> list[str]:
        """Return the command prefix that brings up the local service the model needs.

        -P, or the folder shared/ would come first where the command looks for imports.
        """
        service = self.front_matter.get("runs_with")
        if not service:
            return []
        return [sys.executable, "-P", str(ROOT / "shared" / f"{service}.py")]

    def json(self, file: str) -> Any:
        return json.loads((self.path / file).read_text(encoding="utf-8"))


def discover() -> list[Recipe]:
    """Return every recipe by its `order`, then by name: lessons first.

    A recipe with a slip in its front matter comes last; the error is raised when it is
    used.
    """
    folder = ROOT / "recipes"
    recipes = [Recipe(path.parent) for path in folder.glob("*/model_code.py")]
    if not recipes:
        raise CookbookError(f"no recipe under {folder}")

    def place_in_story(recipe: Recipe) -> tuple[float, str]:
        try:
            return recipe.front_matter.get("order", 1000), recipe.name
        except CookbookError:
            return float("inf"), recipe.name

    return sorted(recipes, key=place_in_story)


def find(name: str, variable: str = "RECIPE") -> Recipe:
    """Return the recipe of that name; CookbookError lists the known ones."""
    recipes = {recipe.name: recipe for recipe in discover()}
    if name in recipes:
        return recipes[name]
    fault = f"unknown recipe {name!r}"
    if not name:
        fault = f"no recipe named: add {variable}=<name>"
    raise CookbookError(f"{fault}\nknown: {', '.join(recipes)}")


def all_services() -> list[str]:
    """Return the command prefix that brings up the services of all recipes."""
    commands = set()
    for recipe in discover():
        with suppress(CookbookError):  # the recipe says so when it is used
            commands.add(tuple(recipe.service_command))
    return [word for command in sorted(commands) for word in command]


def print_recipes() -> int:
    """Print the recipes, a line each."""
    for recipe in discover():
        try:
            summary = recipe.front_matter["summary"]
        except CookbookError as error:
            summary = str(error)
        print(f"{recipe.name:<22}{summary}")
    return 0


def newest_model(recipe: Recipe) -> str:
    """Return the URI of the recipe's newest model; CookbookError if there is none."""
    import mlflow

    experiment = find_experiment(recipe.name) if open_store() else None
    if experiment:
        models = mlflow.MlflowClient().search_logged_models(
            [experiment.experiment_id], filter_string=f"name = '{recipe.name}'"
        )
        for model in models:  # the newest first
            if model.status == "READY":  # not one that a driver failed to log
                return str(model.model_uri)
    remedy = f"make log RECIPE={recipe.name}"
    raise CookbookError(f"{recipe.name}: nothing logged yet; {remedy}")
