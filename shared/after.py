"""The commands for models that were logged: servers, the registry, scoring on Spark."""

import os
import subprocess
import sys

import click

from shared.recipes import Recipe, UnknownRecipe, find


class _RecipeName(click.ParamType):
    name = "recipe"

    def convert(
        self, value: str | Recipe, param: click.Parameter | None, ctx: click.Context | None
    ) -> Recipe:
        try:
            return value if isinstance(value, Recipe) else find(value)
        except UnknownRecipe as error:
            print(error, file=sys.stderr)
            sys.exit(2)


PORT = click.IntRange(1, 65535)
recipe_argument = click.argument("recipe", type=_RecipeName(), default="")


@click.group()
def after() -> None:
    """What comes after logging."""


@after.command()
@recipe_argument
@click.option("--port", type=PORT, default=5001, show_default=True)
def serve(recipe: Recipe, port: int) -> int:
    """Serve one recipe's newest model over REST on loopback."""
    from shared.servers import serve

    return serve(recipe, port)


@after.command()
@click.option("--port", type=PORT, default=5000, show_default=True)
def ui(port: int) -> int:
    """MLflow's web page over .mlflow/ on loopback."""
    from shared.servers import ui

    return ui(port)


@after.command()
@recipe_argument
def register(recipe: Recipe) -> int:
    """Register one recipe's newest model as a version, the challenger."""
    from shared.registry import register

    version = register(recipe)
    print(f"{version.name} version {version.version} is the challenger ({version.source})")
    return 0


@after.command()
@recipe_argument
@click.option("--version", default="", help="this version; the challenger if it is not given")
def promote(recipe: Recipe, version: str) -> int:
    """Make the challenger, or any version, the champion; the way back is printed."""
    from shared.registry import promote

    now, before = promote(recipe, version)
    print(f"models:/{now.name}@champion is version {now.version}")
    if before and before.version != now.version:
        print(f"back: make promote RECIPE={now.name} VERSION={before.version}")
    return 0


@after.command()
@recipe_argument
def rebuild(recipe: Recipe) -> int:
    """Log a composed model again with the newest version of each component."""
    from shared.registry import rebuild

    print(f"model   {rebuild(recipe)}")
    return 0


@after.command()
def registry() -> int:
    """The registered versions, their aliases, and components that have a newer version."""
    from shared.registry import status

    print("\n".join(status()) or "nothing is registered; make register RECIPE=<name>")
    return 0


@after.command("score-spark")
@recipe_argument
@click.argument("source")
@click.argument("target")
@click.option("--params", default="{}", help="the model's params, as JSON")
@click.option("--group-by", default="", help="the column that tells apart tables scored as a whole")
def score_spark(recipe: Recipe, source: str, target: str, params: str, group_by: str) -> int:
    """Score Parquet or CSV at SOURCE on Spark; write Parquet to TARGET."""
    from shared.smoke import WARNINGS, newest_model
    from shared.store import tracking_uri

    child = [*recipe.runs_with, sys.executable, *WARNINGS, "-m", "shared.spark"]
    words = [newest_model(recipe), source, target, "--params", params, "--group-by", group_by]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()}
    return subprocess.call([*child, *words], env=environment)
