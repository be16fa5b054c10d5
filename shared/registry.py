"""The life of a registered model: versions, the aliases champion and challenger, pinned components.

A recipe is registered under its own name. A version is a logged model and never changes; an alias
says which version is in use, and moving it is all that promoting and rolling back do.
"""

import tempfile
from typing import Any

from shared.recipes import Recipe
from shared.run import recipe_run
from shared.store import checked_copy, newest_model, open_store

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

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
    mlflow.MlflowClient().set_registered_model_alias(
        recipe.name, CHALLENGER, version.version
    )
    print(
        f"{version.name} version {version.version} is the challenger ({version.source})"
    )
    return 0


def promote(recipe: Recipe, number: str = "") -> int:
    """Make the challenger, or any version, the champion; the way back is printed."""
    name = recipe.name
    known = versions(name) if open_store() else []
    before = next((version for version in known if CHAMPION in version.aliases), None)
    challenger = next(
        (version for version in known if CHALLENGER in version.aliases), None
    )
    asked = next((version for version in known if str(version.version) == number), None)
    version = asked if number else challenger
    if not version:
        has = ", ".join(str(v.version) for v in known) or "none"
        wanted = f"version {number}" if number else "challenger"
        said = f"{name} has no {wanted}; its versions: {has}"
        raise LookupError(f"{said} (make register RECIPE={name})")
    unchanged(str(version.source))
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(name, CHAMPION, version.version)
    if challenger and challenger.version == version.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    print(f"models:/{name}@champion is version {version.version}")
    if before and before.version != version.version:
        print(f"back: make promote RECIPE={name} VERSION={before.version}")
    return 0


def components(model: Model) -> list[tuple[str, ModelVersion, ModelVersion]]:
    """Return for each registered model that was copied in: its key, its version, the newest one."""
    client, found = mlflow.MlflowClient(), []
    for key, artifact in model.flavors["python_function"].get("artifacts", {}).items():
        for pinned in client.search_model_versions(
            f"source_path = '{artifact['uri']}'"
        ):
            found.append((key, pinned, versions(pinned.name)[-1]))
    return found


def show() -> int:
    """Print the registered versions, their aliases, and components that have a newer version."""
    known = mlflow.MlflowClient().search_registered_models() if open_store() else []
    for version in [
        version for registered in known for version in versions(registered.name)
    ]:
        aliases = ", ".join(version.aliases)
        print(f"{version.name:<22}{version.version:>3}  {version.source}  {aliases}")
        for key, pinned, newest in (
            components(Model.load(version.source)) if aliases else []
        ):
            said = f"built from {key}: {pinned.name} version {pinned.version}"
            if newest.version != pinned.version:
                said += f"; version {newest.version} is newer: make rebuild RECIPE={version.name}"
            print(f"{'':<27}{said}")
    if not known:
        print("nothing is registered; make register RECIPE=<name>")
    return 0


def rebuild(recipe: Recipe) -> int:
    """Log a composed model again with the newest version of each component.

    Code and requirements are those of the recipe now; signature and example stay.
    """
    before = unchanged(newest_model(recipe))
    model: Any = Model.load(before)
    if not (parts := components(model)):
        raise LookupError(f"{recipe.name} is not composed of registered models")
    said = f"Rebuilt from {before} with the newest version of each component."
    with recipe_run(str(recipe.path / "driver.py"), said) as run:
        logged = mlflow.pyfunc.log_model(
            name=recipe.name,
            python_model=recipe.path / "model_code.py",
            artifacts={key: newest.source for key, _, newest in parts},
            signature=model.signature,
            input_example=mlflow.pyfunc.load_model(before).input_example,
            pip_requirements=str(recipe.path / "requirements.txt"),
        )
        lineage = [
            LoggedModelInput(str(n.source).rpartition("/")[2]) for _, _, n in parts
        ]
        mlflow.MlflowClient().log_inputs(run.info.run_id, models=lineage)
    print(f"model   {logged.model_uri}")
    print(f"what it answers now, and to expect that: make accept RECIPE={recipe.name}")
    return 0
