"""Register, promote and roll back models; rebuild one that is made of others.

A version is a logged model and never changes; an alias says which version is in use.
Promoting and rolling back move the alias `champion`. Each function prints the client's
call that it makes.
"""

from typing import Any

from shared import CookbookError
from shared.recipes import Recipe, newest_model
from shared.run import recipe_run
from shared.store import open_store

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model


def versions(name: str) -> list[ModelVersion]:
    """Return the registered versions of that name with their aliases, oldest first."""
    client = mlflow.MlflowClient()
    listed = client.search_model_versions(f"name = '{name}'")
    # The search leaves the aliases out.
    complete = [client.get_model_version(name, entry.version) for entry in listed]
    return sorted(complete, key=lambda version: int(version.version))


def set_alias(name: str, alias: str, version: str) -> None:
    """Move the alias to the version, and print the call that does it."""
    mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
    print(f'client.set_registered_model_alias("{name}", "{alias}", "{version}")')


def register(recipe: Recipe) -> int:
    """Make the recipe's newest model the challenger; register it if it isn't."""
    uri = newest_model(recipe)
    same = [version for version in versions(recipe.name) if version.source == uri]
    if not same:
        print(f'mlflow.register_model("{uri}", "{recipe.name}")')
        same = [mlflow.register_model(uri, recipe.name)]
    set_alias(recipe.name, "challenger", str(same[0].version))
    return 0


def promote(recipe: Recipe, number: str = "") -> int:
    """Make the challenger, or the version of that number, the champion."""
    name = recipe.name
    registered = versions(name) if open_store() else []
    aliases = {alias: str(v.version) for v in registered for alias in v.aliases}
    number = number or aliases.get("challenger", "")
    if number not in [str(version.version) for version in registered]:
        wanted = f"version {number}" if number else "challenger"
        raise CookbookError(f"{name} has no {wanted}; make register RECIPE={name}")
    set_alias(name, "champion", number)
    if number == aliases.get("challenger"):
        mlflow.MlflowClient().delete_registered_model_alias(name, "challenger")
        print(f'client.delete_registered_model_alias("{name}", "challenger")')
    print(f"models:/{name}@champion is version {number}")
    before = aliases.get("champion", number)
    if before != number:
        print(f"back: make promote RECIPE={name} VERSION={before}")
    return 0


def components(model: Model) -> list[tuple[str, ModelVersion, ModelVersion]]:
    """Return each registered model that was copied in: key, its version, the newest."""
    client = mlflow.MlflowClient()
    pinned = []
    artifacts = model.flavors.get("python_function", {}).get("artifacts", {})
    for key, artifact in artifacts.items():
        source = f"source_path = '{artifact['uri']}'"
        for version in client.search_model_versions(source):
            pinned.append((key, version, versions(version.name)[-1]))
    return pinned


def print_versions() -> int:
    """Print the registered versions, their aliases, and components that are older."""
    models = mlflow.MlflowClient().search_registered_models() if open_store() else []
    for version in [version for model in models for version in versions(model.name)]:
        aliases = ", ".join(version.aliases)
        print(f"{version.name:<22}{version.version:>3}  {version.source}  {aliases}")
        in_use = Model.load(version.source) if aliases else Model()
        for key, pinned, newest in components(in_use):
            line = f"built from {key}: {pinned.name} version {pinned.version}"
            if newest.version != pinned.version:
                remedy = f"make rebuild RECIPE={version.name}"
                line += f"; version {newest.version} is newer: {remedy}"
            print(f"{'':<27}{line}")
    if not models:
        print("nothing is registered; make register RECIPE=<name>")
    return 0


def rebuild(recipe: Recipe) -> int:
    """Log a composed model again with the newest version of each component.

    Code and requirements are those of the recipe now; signature and example stay.
    """
    before = newest_model(recipe)
    model: Any = Model.load(before)
    parts = components(model)
    if not parts:
        raise CookbookError(f"{recipe.name} is not composed of registered models")
    description = f"Rebuilt from {before} with the newest version of each component."
    with recipe_run(recipe.name, description) as run:
        rebuilt = mlflow.pyfunc.log_model(
            name=recipe.name,
            python_model=recipe.path / "model_code.py",
            artifacts={key: newest.source for key, _, newest in parts},
            signature=model.signature,
            input_example=mlflow.pyfunc.load_model(before).input_example,
            pip_requirements=str(recipe.path / "requirements.txt"),
        )
        model_ids = [str(newest.source).rpartition("/")[2] for _, _, newest in parts]
        lineage = [LoggedModelInput(model_id) for model_id in model_ids]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
    print(f"model   {rebuilt.model_uri}")
    print(f"its answer now, and to expect it: make accept RECIPE={recipe.name}")
    return 0
