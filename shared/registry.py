"""Register, promote and roll back models.

A version is a logged model and never changes; an alias says which version is in use.
Promoting and rolling back (`promote` with a number) move the alias `champion`. Each
command prints the client's calls that it stands for.
"""

from shared import CookbookError
from shared.recipes import Recipe, newest_model
from shared.store import open_store

import mlflow
from mlflow.entities.model_registry import ModelVersion


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
    """Register the recipe's newest model, if it isn't yet; make it the challenger."""
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


def print_versions() -> int:
    """Print the registered versions and their aliases."""
    print("client.search_registered_models(), client.search_model_versions()")
    models = mlflow.MlflowClient().search_registered_models() if open_store() else []
    for version in [version for model in models for version in versions(model.name)]:
        aliases = ", ".join(version.aliases)
        print(f"{version.name:<22}{version.version:>3}  {version.source}  {aliases}")
    if not models:
        print("nothing is registered; make register RECIPE=<name>")
    return 0
