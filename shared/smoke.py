"""Ask recipes' newest models their known requests in other processes, and compare.

    python -m shared.smoke    asks all of them

known_answer.py says why, and what is asked.
"""

import os
import sys
from typing import Any

from shared import known_answer
from shared.forks import output_file, run_in_forks
from shared.recipes import Recipe, discover, newest_model

import mlflow  # noqa: F401  # once, and not in each fork


def answer(recipe: Recipe, model: str = "", env_manager: str = "local") -> Any:
    """Return what a model, by default the recipe's newest, answers elsewhere."""
    model = model or newest_model(recipe)
    service = [*recipe.service_command, sys.executable]
    return known_answer.ask(model, recipe.path, service, env_manager)


def accept(recipe: Recipe) -> int:
    """Make the newest model's answer the expected one, after a look."""
    return known_answer.accept(answer(recipe), recipe.path)


def smoke(recipe: Recipe, env_manager: str = "local") -> int:
    """Check the newest model's answer; 1 if it is wrong."""
    reply = answer(recipe, env_manager=env_manager)
    faults = known_answer.find_faults(recipe.path, reply)
    print(f"{recipe.name} {'failed' if faults else 'ok'}", *faults, sep="\n  ")
    return 1 if faults else 0


def isolated(recipe: Recipe) -> int:
    """Check the newest model in an environment of its own requirements, made by uv."""
    os.environ.pop("UV_BUILD_CONSTRAINT", None)  # of the Makefile: a path from ROOT
    return smoke(recipe, env_manager="uv")


def smoke_all() -> int:
    """Check all recipes' newest models; 1 if an answer is wrong or missing."""
    failed = 0
    for recipe, exit_code, _ in run_in_forks(smoke, discover(), "smoke"):
        if exit_code:
            failed = 1
            print(output_file("smoke", recipe).read_text(encoding="utf-8"), end="")
            print(f"again: make smoke RECIPE={recipe.name}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(smoke_all())
