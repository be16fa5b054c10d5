"""The command line behind the Makefile: python -m shared --help.

What imports mlflow is imported inside the commands: help and list answer at once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from shared.after import after, recipe_argument
from shared.recipes import Recipe, discover


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The cookbook's commands; each is a make target too."""


@cli.command("list")
def list_recipes() -> int:
    """The recipes, a line each."""
    for recipe in discover():
        print(f"{recipe.name:<22}{recipe.front_matter['summary']}")
    return 0


@cli.command()
@recipe_argument
def log(recipe: Recipe) -> int:
    """Run one recipe's driver."""
    from shared.smoke import WARNINGS

    return subprocess.call([sys.executable, *WARNINGS, recipe.path / "driver.py"])


@cli.command("log-all")
def log_all() -> int:
    """Run every driver; a table at the end and build/log-all.json."""
    from shared import log_all as logging_all

    rows = logging_all.log_all(discover())
    logging_all.write(rows)
    print(logging_all.summary(rows))
    place = os.environ.get("MLFLOW_TRACKING_URI") or "`make ui`"
    print(f"\nlook at them: {place}; try them: `make smoke-all`; as JSON: build/log-all.json")
    return int(any(row["status"] == "failed" for row in rows))


@cli.command()
@recipe_argument
def smoke(recipe: Recipe) -> int:
    """Reload one recipe's newest model elsewhere and check its answer."""
    from shared.smoke import smoke

    return _check([recipe], smoke, "smoke")


@cli.command("smoke-all")
def smoke_all() -> int:
    """Reload every recipe's newest model elsewhere and check its answer."""
    from shared.smoke import smoke

    return _check(discover(), smoke, "smoke")


def _check(recipes: list[Recipe], differences: Callable[[Recipe], list[str]], verb: str) -> int:
    def attempt(recipe: Recipe) -> tuple[list[str], float]:
        start = time.perf_counter()
        try:
            wrong = differences(recipe)
        except (LookupError, RuntimeError) as error:
            wrong = [str(error)]
        return wrong, time.perf_counter() - start

    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = zip(recipes, pool.map(attempt, recipes), strict=True)
        for number, (recipe, (wrong, seconds)) in enumerate(outcomes, 1):
            status = "failed" if wrong else "ok"
            print(f"[{number}/{len(recipes)}] {recipe.name:<22} {status:<8}{seconds:6.1f} s")
            for line in wrong:
                print(f"      {line}")
            if wrong:
                print(f"      run it again: make {verb} RECIPE={recipe.name}", flush=True)
            failed += bool(wrong)
    return int(failed > 0)


@cli.command()
@recipe_argument
def isolated(recipe: Recipe) -> int:
    """The same check in an environment made only from the model's own requirements."""
    from shared.isolated import isolated

    return _check([recipe], isolated, "isolated")


@cli.command()
@recipe_argument
@click.argument("to")
def new(recipe: Recipe, to: str) -> int:
    """Copy a recipe to the new folder TO, as a starter that stands alone."""
    from shared.new import new

    made = new(recipe, Path(to))
    print(f"{made}\nnow: cd {made} && make test; README.md says what to change first")
    return 0


@cli.command()
@recipe_argument
def dockerfile(recipe: Recipe) -> int:
    """Write the folder from which docker builds a server of one recipe's newest model."""
    from shared.servers import dockerfile

    return dockerfile(recipe)


cli.commands.update(after.commands)  # servers, registry, Spark


if __name__ == "__main__":
    try:
        sys.exit(cli(prog_name="python -m shared", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LookupError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
