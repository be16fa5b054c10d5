"""Ask logged models their known requests, in one process elsewhere, and compare.

known_answer.py says why. The process imports MLflow once and is forked for each model.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shared import CookbookError, known_answer
from shared.check import print_check
from shared.known_answer import find_faults
from shared.processes import stop_group
from shared.recipes import WARNINGS, Recipe, discover, newest_model
from shared.store import tracking_uri

SCORER = Path(__file__).with_name("scorer.py")


@dataclass
class Outcome:
    """What a model answered elsewhere, or the error that it ended in."""

    recipe: Recipe
    seconds: float = 0.0
    answer: Any = None
    error: str = ""

    def faults(self) -> list[str]:
        """Return what is wrong with the answer, a line each; [] is a pass."""
        if self.error:
            return [self.error]
        return find_faults(self.recipe.path, self.answer)


def start_services(recipes: list[Recipe], stack: ExitStack) -> dict[str, str]:
    """Start the services that the recipes need; return the variables that name them."""
    before = dict(os.environ)
    names = {recipe.front_matter.get("runs_with") for recipe in recipes}
    for name in filter(None, names):
        stack.enter_context(importlib.import_module(f"shared.{name}").started())
    return {k: v for k, v in os.environ.items() if before.get(k) != v}


def score_elsewhere(
    models: Mapping[Recipe, str], python: list[str] | None = None
) -> Iterator[Outcome]:
    """Yield each model's answer to its recipe's request.json, from a process in `/`.

    `models` holds recipes and their models' URIs or folders; "" is the newest model.
    `python` starts that process: by default this interpreter, with warnings as errors.
    """
    python = python or [sys.executable, *WARNINGS]
    variables = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", **os.environ}
    variables["MLFLOW_TRACKING_URI"] = tracking_uri()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "scorer.txt"
        with log.open("w") as errors:
            scorer = subprocess.Popen(
                [*python, "-I", str(SCORER)],
                cwd="/",
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        stack.enter_context(scorer)  # closes its pipes
        stack.callback(stop_group, scorer)
        services = start_services(list(models), stack)
        outcomes = {recipe.name: Outcome(recipe) for recipe in models}
        jobs = []
        for recipe, model in models.items():
            needs_service = "runs_with" in recipe.front_matter
            job = {
                "name": recipe.name,
                "model": model,
                "request": str(recipe.path / "request.json"),
                "answer": str(folder / f"{recipe.name}.json"),
                "errors": str(folder / f"{recipe.name}.txt"),
                "environment": services if needs_service else {},
            }
            jobs.append(json.dumps(job) + "\n")
        assert scorer.stdin and scorer.stdout
        try:
            scorer.stdin.write("".join(jobs))
            scorer.stdin.close()
        except BrokenPipeError:
            pass  # it ended at an import; its log says why
        for line in scorer.stdout:
            name, seconds, exit_code = json.loads(line)
            outcome = outcomes.pop(name)
            outcome.seconds = seconds
            file = folder / f"{name}.json"
            if file.is_file():
                outcome.answer = json.loads(file.read_text(encoding="utf-8"))
            elif exit_code < 0:
                outcome.error = f"crash: {signal.strsignal(-exit_code)}"
            else:
                outcome.error = (folder / f"{name}.txt").read_text().strip()
            yield outcome
        for outcome in outcomes.values():
            outcome.error = log.read_text().strip() or "it ended without an answer"
            yield outcome


def answer(recipe: Recipe, model: str = "", python: list[str] | None = None) -> Any:
    """Return what a model, by default the recipe's newest, answers elsewhere.

    Raises CookbookError with the process's error output if it doesn't answer.
    """
    (outcome,) = score_elsewhere({recipe: model}, python)
    if outcome.error:
        raise CookbookError(f"{recipe.name} did not answer\n{outcome.error}")
    return outcome.answer


def score_isolated(recipe: Recipe) -> Outcome:
    """Score the newest model in an environment made only from its own requirements.

    uv keeps that environment in its cache: a second time takes as long as starting it.
    """
    import mlflow

    uri = newest_model(recipe)
    requirements = mlflow.pyfunc.get_model_dependencies(uri, format="pip")
    (outcome,) = score_elsewhere({recipe: uri}, python_with(Path(requirements)))
    return outcome


def python_with(requirements: Path, python: str = sys.executable) -> list[str]:
    """Return the command of a Python that has these requirements and nothing else."""
    uv = [str(Path(sys.executable).with_name("uv")), "run", "-q", "--no-project"]
    uv += ["--isolated", "--no-python-downloads", "--python", python]
    return [*uv, "--with-requirements", str(requirements), "--", "python"]


def check(recipe: Recipe | None = None, alone: bool = False) -> int:
    """Print a line for one recipe's newest model, or for all; 1 if one is wrong."""
    recipes = [recipe] if recipe else discover()
    failed = 0
    for number, outcome in enumerate(attempt(recipes, alone), 1):
        faults = outcome.faults()
        name = outcome.recipe.name
        status = "failed" if faults else "ok"
        line = f"[{number}/{len(recipes)}] {name:<22} {status:<8}"
        print(f"{line}{outcome.seconds:6.1f} s", flush=True)
        if faults:
            failed = 1
            again = f"again: make {'isolated' if alone else 'smoke'} RECIPE={name}"
            print(
                *(f"      {fault}" for fault in [*faults, again]), sep="\n", flush=True
            )
    return failed


def attempt(recipes: list[Recipe], alone: bool) -> Iterator[Outcome]:
    """Yield the outcome of each recipe."""
    if not alone:
        yield from score_elsewhere(dict.fromkeys(recipes, ""))
        return
    for recipe in recipes:
        try:
            yield score_isolated(recipe)
        except CookbookError as error:
            yield Outcome(recipe, error=str(error))


def accept(recipe: Recipe) -> int:
    """Make the newest model's answer the expected one, after a look."""
    return known_answer.accept(answer(recipe), recipe.path)


check_isolated = partial(check, alone=True)


def check_contract(recipe: Recipe) -> int:
    """Run check-model on the recipe's newest model, beside the service it needs."""
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri()
    with ExitStack() as stack:
        start_services([recipe], stack)
        return print_check(newest_model(recipe))
