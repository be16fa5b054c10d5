"""Ask recipes' newest models their known requests in other processes, and compare.

    python -m shared.smoke [RECIPE]

known_answer.py says why, and asks one model. Here MLflow is imported once, and a fork
in `/` asks each model.
"""

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared import ROOT, known_answer
from shared.forks import output_file, run_in_forks
from shared.recipes import Recipe, discover, find, newest_model
from shared.store import print_command

import mlflow
import mlflow.pyfunc.scoring_server
import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401


def ask_elsewhere(recipe: Recipe, model: str = "") -> Any:
    """Return what a model, by default the recipe's newest, answers elsewhere."""
    model = model or newest_model(recipe)
    service = [*recipe.service_command, sys.executable]
    return known_answer.ask(model, recipe.path, service)


def accept(recipe: Recipe) -> int:
    """Make the newest model's answer the expected one, after a look."""
    return known_answer.accept(ask_elsewhere(recipe), recipe.path)


def ask_here(recipe: Recipe) -> Any:
    """Return the newest model's answer, as `mlflow models predict` gives it.

    After this, the process can import nothing of the repository.
    """
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model, request = newest_model(recipe), recipe.path / "request.json"
    words = ["-m", model, "-i", str(request), "-t", "json"]
    words += ["--env-manager", "local"]
    print_command(f"mlflow models predict {shlex.join(words)}")
    os.chdir("/")
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != ROOT]
    for name in ("shared", "recipes", *sys.modules):
        if name.split(".")[0] in ("shared", "recipes"):
            sys.modules[name] = None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "answer.json"
        mlflow.models.predict(
            model,
            input_path=str(request),
            output_path=str(output),
            content_type="json",
            env_manager="local",
        )
        return json.loads(output.read_text(encoding="utf-8"))


def compare(recipe: Recipe, reply: Any) -> int:
    """Print whether an answer is the expected one, and where not; 1 if it isn't."""
    faults = known_answer.find_faults(recipe.path, reply)
    print(f"{recipe.name} {'failed' if faults else 'ok'}", *faults, sep="\n  ")
    return 1 if faults else 0


def check_here(recipe: Recipe) -> int:
    """Check the newest model's answer in this process, which was forked for it."""
    return compare(recipe, ask_here(recipe))


def check_isolated(recipe: Recipe) -> int:
    """Check the newest model in an environment of its own requirements, made by uv."""
    model = newest_model(recipe)
    with tempfile.TemporaryDirectory() as place:
        # MLflow puts its own path unquoted into a command: here it has no blank.
        python = Path(place) / "here"
        python.symlink_to(sys.prefix)
        service = [*recipe.service_command, str(python / "bin" / "python")]
        return compare(recipe, known_answer.ask(model, recipe.path, service, "uv"))


def main(names: list[str]) -> int:
    """Check these recipes' newest models, or all; 1 if an answer is wrong."""
    recipes = [find(name) for name in names] or discover()
    failed = 0
    for recipe, exit_code, _ in run_in_forks(check_here, recipes, "smoke"):
        output = output_file("smoke", recipe).read_text(encoding="utf-8")
        if exit_code:
            failed = 1
            print(f"{output}again: make smoke RECIPE={recipe.name}", flush=True)
        elif names:  # the command of MLflow that does the same
            print(output.partition("\n")[0], flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
