"""Ask recipes' newest models their known requests in other processes, and compare.

    python -m shared.smoke [RECIPE]...

known_answer.py says why, and asks one model by MLflow's own command. Here MLflow is
imported once, and a fork in `/` asks each model.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from shared import ROOT, CookbookError, known_answer
from shared.forks import output_file, run_in_forks
from shared.recipes import Recipe, discover, find, newest_model

import mlflow
import mlflow.pyfunc.scoring_server
import mlflow.store.model_registry.sqlalchemy_store


def answer_here(recipe: Recipe) -> None:
    """Write the newest model's answer beside the output, as `mlflow models predict`.

    After this, the process can import nothing of the repository.
    """
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    answer_file = output_file("smoke", recipe).with_suffix(".json")
    answer_file.unlink(missing_ok=True)
    try:
        model = newest_model(recipe)
    except CookbookError as error:
        sys.exit(str(error))
    request = recipe.path / "request.json"
    print(f"$ mlflow models predict -m {model} -i {request} -t json", flush=True)
    os.chdir("/")
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != ROOT]
    for name in ("shared", "recipes", *sys.modules):
        if name.split(".")[0] in ("shared", "recipes"):
            sys.modules[name] = None  # type: ignore[assignment]
    mlflow.models.predict(
        model,
        input_path=str(request),
        output_path=str(answer_file),
        content_type="json",
        env_manager="local",
    )


def find_faults(recipe: Recipe, exit_code: int) -> list[str]:
    """Return what is wrong with what a fork wrote, a line each; [] is a pass."""
    output = output_file("smoke", recipe)
    if exit_code < 0:
        return [f"crash: {signal.strsignal(-exit_code)}"]
    if exit_code:
        return [output.read_text(encoding="utf-8").strip()]
    answer = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    return known_answer.find_faults(recipe.path, answer)


def answer(recipe: Recipe, model: str = "", env_manager: str = "local") -> Any:
    """Return what a model, by default the recipe's newest, answers elsewhere."""
    model = model or newest_model(recipe)
    service = [*recipe.service_command, sys.executable]
    return known_answer.ask(model, recipe.path, service, env_manager)


def accept(recipe: Recipe) -> int:
    """Make the newest model's answer the expected one, after a look."""
    return known_answer.accept(answer(recipe), recipe.path)


def isolated(recipe: Recipe) -> int:
    """Check the newest model in an environment of its own requirements, made by uv."""
    os.environ.pop("UV_BUILD_CONSTRAINT", None)  # of the Makefile: a path from ROOT
    faults = known_answer.find_faults(recipe.path, answer(recipe, env_manager="uv"))
    print(f"{recipe.name} {'failed' if faults else 'ok'}", *faults, sep="\n      ")
    return 1 if faults else 0


def main(names: list[str]) -> int:
    """Print a line for each recipe; 1 if an answer is wrong or missing."""
    recipes = [find(name) for name in names] or discover()
    failed = 0
    done = run_in_forks(answer_here, recipes, "smoke")
    for number, (recipe, exit_code, seconds) in enumerate(done, 1):
        if names:
            print(output_file("smoke", recipe).read_text().partition("\n")[0])
        faults = find_faults(recipe, exit_code)
        status = "failed" if faults else "ok"
        line = f"[{number}/{len(recipes)}] {recipe.name:<22} {status:<8}"
        print(f"{line}{seconds:6.1f} s", flush=True)
        if faults:
            failed = 1
            for fault in [*faults, f"again: make smoke RECIPE={recipe.name}"]:
                print(f"      {fault}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
