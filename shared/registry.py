"""The life of a registered model: versions, the aliases champion and challenger, pinned components.

A recipe is registered under its own name. A version is a logged model and never changes; an alias
says which version is in use, and moving it is all that promoting and rolling back do.
"""

from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from shared.recipes import Recipe
from shared.smoke import newest_model
from shared.store import tracking_uri, use_store

CHAMPION, CHALLENGER = "champion", "challenger"


def versions(name: str) -> list[ModelVersion]:
    """Return the registered versions of that name with their aliases, oldest first."""
    client = mlflow.MlflowClient(tracking_uri())
    found = client.search_model_versions(f"name = '{name}'")
    # The search leaves the aliases out.
    full = [client.get_model_version(name, version.version) for version in found]
    return sorted(full, key=lambda version: int(version.version))


def at(name: str, alias: str) -> ModelVersion | None:
    """Return the version that has the alias."""
    return next((version for version in versions(name) if alias in version.aliases), None)


def register(recipe: Recipe) -> ModelVersion:
    """Register the recipe's newest model, unless it is a version already; it is the challenger."""
    use_store(recipe.name)
    uri = newest_model(recipe)
    known = [version for version in versions(recipe.name) if version.source == uri]
    version = known[0] if known else mlflow.register_model(uri, recipe.name)
    mlflow.MlflowClient().set_registered_model_alias(recipe.name, CHALLENGER, version.version)
    return version


def promote(recipe: Recipe, number: str = "") -> tuple[ModelVersion, ModelVersion | None]:
    """Make the challenger (or that version) the champion; return it and the one before."""
    client, name = mlflow.MlflowClient(tracking_uri()), recipe.name
    known = {str(version.version): version for version in versions(name)}
    before, challenger = at(name, CHAMPION), at(name, CHALLENGER)
    version = known.get(number) if number else challenger
    if not version:
        has = f"its versions: {', '.join(known)}" if known else "nothing is registered"
        wanted = f"version {number}" if number else "challenger"
        raise LookupError(f"{name} has no {wanted}; {has} (make register RECIPE={name})")
    client.set_registered_model_alias(name, CHAMPION, version.version)
    if challenger and challenger.version == version.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return version, before


@dataclass(frozen=True)
class Component:
    """A model inside another: which version it is, and the newest that there is."""

    key: str
    pinned: ModelVersion
    newest: ModelVersion


def components(model_uri: str | None) -> list[Component]:
    """Return the registered models that were copied into the model when it was logged."""
    client = mlflow.MlflowClient(tracking_uri())
    model: Any = Model.load(model_uri)
    artifacts = model.flavors["python_function"].get("artifacts", {})
    return [
        Component(key, version, versions(version.name)[-1])
        for key, artifact in artifacts.items()
        for version in client.search_model_versions(f"source_path = '{artifact['uri']}'")
    ]


def status() -> list[str]:
    """Return a line for each registered model and each component that has a newer version."""
    mlflow.set_tracking_uri(tracking_uri())
    lines = []
    for registered in mlflow.MlflowClient().search_registered_models():
        for version in versions(registered.name):
            aliases = ", ".join(version.aliases)
            lines.append(f"{version.name:<22}{version.version:>3}  {version.source}  {aliases}")
            for part in components(version.source) if version.aliases else []:
                said = f"{part.key}: {part.pinned.name} version {part.pinned.version}"
                if part.newest.version != part.pinned.version:
                    newer = f"version {part.newest.version} is newer"
                    said += f"; {newer}: make rebuild RECIPE={version.name}"
                lines.append(f"{'':<27}built from {said}")
    return lines


def rebuild(recipe: Recipe) -> str:
    """Log the recipe's model again with the newest version of each component; return its URI.

    Code and requirements are those of the recipe now; signature and example stay.
    """
    use_store(recipe.name)
    before = newest_model(recipe)
    parts = components(before)
    if not parts:
        raise LookupError(f"{recipe.name} is not composed of registered models")
    model: Any = Model.load(before)
    example = mlflow.pyfunc.load_model(before).input_example
    with mlflow.start_run(run_name=recipe.name, tags={"rebuilt_from": before}) as run:
        logged = mlflow.pyfunc.log_model(
            name=recipe.name,
            python_model=recipe.path / "model_code.py",
            artifacts={part.key: part.newest.source for part in parts},
            signature=model.signature,
            input_example=example,
            pip_requirements=str(recipe.path / "requirements.txt"),
        )
        lineage = [LoggedModelInput(str(part.newest.source).rpartition("/")[2]) for part in parts]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
    return logged.model_uri
