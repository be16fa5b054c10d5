"""The life of a registered model: versions, the aliases champion and challenger, pinned components.

A recipe is registered under its own name. A version is a logged model and never changes; an alias
says which version is in use, and moving it is all that promoting and rolling back do.
"""

import tempfile
from typing import Any, NamedTuple

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from shared.recipes import Recipe
from shared.run import recipe_run
from shared.store import checked_copy, newest_model, open_store

CHAMPION, CHALLENGER = "champion", "challenger"


def versions(name: str) -> list[ModelVersion]:
    """Return the registered versions of that name with their aliases, oldest first."""
    client = mlflow.MlflowClient()
    found = client.search_model_versions(f"name = '{name}'")
    # The search leaves the aliases out.
    full = [client.get_model_version(name, version.version) for version in found]
    return sorted(full, key=lambda version: int(version.version))


def unchanged(uri: str) -> str:
    """Return the URI of a model whose files are as they were logged; LookupError otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        checked_copy(uri, folder)
    return uri


def register(recipe: Recipe) -> int:
    """Register the recipe's newest model, unless it is a version already; it is the challenger."""
    uri = unchanged(newest_model(recipe))
    known = [version for version in versions(recipe.name) if version.source == uri]
    version = known[0] if known else mlflow.register_model(uri, recipe.name)
    mlflow.MlflowClient().set_registered_model_alias(recipe.name, CHALLENGER, version.version)
    print(f"{version.name} version {version.version} is the challenger ({version.source})")
    return 0


def promote(recipe: Recipe, number: str = "") -> int:
    """Make the challenger, or any version, the champion; the way back is printed."""
    name = recipe.name
    known = {str(v.version): v for v in versions(name)} if open_store() else {}
    client = mlflow.MlflowClient()
    before, challenger = (
        next((version for version in known.values() if alias in version.aliases), None)
        for alias in (CHAMPION, CHALLENGER)
    )
    version = known.get(number) if number else challenger
    if not version:
        has = f"its versions: {', '.join(known)}" if known else "nothing is registered"
        wanted = f"version {number}" if number else "challenger"
        raise LookupError(f"{name} has no {wanted}; {has} (make register RECIPE={name})")
    unchanged(str(version.source))
    client.set_registered_model_alias(name, CHAMPION, version.version)
    if challenger and challenger.version == version.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    print(f"models:/{name}@champion is version {version.version}")
    if before and before.version != version.version:
        print(f"back: make promote RECIPE={name} VERSION={before.version}")
    return 0


class Component(NamedTuple):
    """A model inside another: which version it is, and the newest that there is."""

    key: str
    pinned: ModelVersion
    newest: ModelVersion


def components(model_uri: str | None) -> list[Component]:
    """Return the registered models that were copied into the model when it was logged."""
    model: Any = Model.load(model_uri)
    return [
        Component(key, version, versions(version.name)[-1])
        for key, artifact in model.flavors["python_function"].get("artifacts", {}).items()
        for version in mlflow.MlflowClient().search_model_versions(
            f"source_path = '{artifact['uri']}'"
        )
    ]


def show() -> int:
    """Print the registered versions, their aliases, and components that have a newer version."""
    known = mlflow.MlflowClient().search_registered_models() if open_store() else []
    for version in [version for registered in known for version in versions(registered.name)]:
        aliases = ", ".join(version.aliases)
        print(f"{version.name:<22}{version.version:>3}  {version.source}  {aliases}")
        for part in components(version.source) if aliases else []:
            said = f"{part.key}: {part.pinned.name} version {part.pinned.version}"
            if part.newest.version != part.pinned.version:
                newer = f"version {part.newest.version} is newer"
                said += f"; {newer}: make rebuild RECIPE={version.name}"
            print(f"{'':<27}built from {said}")
    if not known:
        print("nothing is registered; make register RECIPE=<name>")
    return 0


def rebuild(recipe: Recipe) -> int:
    """Log a composed model again with the newest version of each component.

    Code and requirements are those of the recipe now; signature and example stay.
    """
    before = unchanged(newest_model(recipe))
    parts = components(before)
    if not parts:
        raise LookupError(f"{recipe.name} is not composed of registered models")
    model: Any = Model.load(before)
    said = f"Rebuilt from {before} with the newest version of each component."
    with recipe_run(str(recipe.path / "driver.py"), said) as run:
        logged = mlflow.pyfunc.log_model(
            name=recipe.name,
            python_model=recipe.path / "model_code.py",
            artifacts={part.key: part.newest.source for part in parts},
            signature=model.signature,
            input_example=mlflow.pyfunc.load_model(before).input_example,
            pip_requirements=str(recipe.path / "requirements.txt"),
        )
        lineage = [LoggedModelInput(str(part.newest.source).rpartition("/")[2]) for part in parts]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
    print(f"model   {logged.model_uri}")
    print(f"what it answers now, and to expect that: make accept RECIPE={recipe.name}")
    return 0
