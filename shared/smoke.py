"""Compare a logged model's answer to its known request, in a second process elsewhere.

A reload in the process that logged the model proves nothing: there, a forgotten
`set_model`, a missing file or an import of the repository goes unnoticed.

    python -m shared.smoke FOLDER             a recipe that was copied out
    python -m shared.smoke FOLDER --accept    make the newest answer the expected one
    python -m shared.smoke FOLDER --check     check-model on its newest model
"""

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from shared.check import print_check
from shared.processes import stop_group
from shared.recipes import WARNINGS, CookbookError, Recipe, discover
from shared.store import newest_model, tracking_uri

SCORER = Path(__file__).with_name("scorer.py")


def differences(
    answer: Any, expected: Any, tolerance: dict[str, float], place: str = ""
) -> list[str]:
    """Return where an answer differs from the expected one, one line each.

    Numbers under a key of `tolerance` may differ by that fraction (by that much, near
    zero); all else must be equal, and true is not 1.
    """
    kinds = type(answer), type(expected)
    if kinds == (dict, dict) and answer.keys() == expected.keys():
        parts = {f"{place}.{key}": (answer[key], expected[key]) for key in expected}
    elif kinds == (list, list) and len(answer) == len(expected):
        pairs = zip(answer, expected, strict=True)
        parts = {f"{place}[{number}]": pair for number, pair in enumerate(pairs)}
    else:
        same = type(answer) is type(expected) and answer == expected
        if set(kinds) <= {int, float}:
            key = place.rsplit(".", 1)[-1].split("[")[0]
            allowed = tolerance.get(key, 0.0)
            same = math.isclose(answer, expected, rel_tol=allowed, abs_tol=allowed)
        return [] if same else [f"{place}: got {answer!r}, expected {expected!r}"]
    lines = []
    for part, (part_answer, part_expected) in parts.items():
        lines += differences(part_answer, part_expected, tolerance, part)
    return lines


def find_faults(recipe: Recipe, answer: Any) -> list[str]:
    """Return where an answer differs from the recipe's response.json; [] is a pass."""
    expected = recipe.json("response.json")
    return differences(answer, expected, expected.pop("tolerance", {}))


@dataclass
class Outcome:
    """What a model answered elsewhere, or the error that it ended in."""

    recipe: Recipe
    seconds: float = 0.0
    answer: Any = None
    error: str = ""

    def faults(self) -> list[str]:
        """Return what is wrong with the answer, a line each; [] is a pass."""
        return [self.error] if self.error else find_faults(self.recipe, self.answer)


def start_services(recipes: list[Recipe], stack: ExitStack) -> dict[str, str]:
    """Start the local services that the recipes need; return the variables that name
    them."""
    before = dict(os.environ)
    names = {recipe.front_matter.get("runs_with") for recipe in recipes}
    for name in filter(None, names):
        stack.enter_context(importlib.import_module(f"shared.{name}").started())
    return {k: v for k, v in os.environ.items() if before.get(k) != v}


def score_elsewhere(
    models: list[tuple[Recipe, str]], python: list[str] | None = None
) -> Iterator[Outcome]:
    """Yield each model's answer to its recipe's request.json, from a new process in
    `/`.

    `models` holds a recipe and its model's URI or folder. `python` starts that process:
    by default this interpreter, with warnings as errors.
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
        services = start_services([recipe for recipe, _ in models], stack)
        outcomes = {recipe.name: Outcome(recipe) for recipe, _ in models}
        jobs = []
        for recipe, model in models:
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
    (outcome,) = score_elsewhere([(recipe, model or newest_model(recipe))], python)
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
    (outcome,) = score_elsewhere([(recipe, uri)], python_with(Path(requirements)))
    return outcome


def python_with(requirements: Path, python: str = sys.executable) -> list[str]:
    """Return the command of a Python that has these requirements and nothing else."""
    uv = [str(Path(sys.executable).with_name("uv")), "run", "-q", "--no-project"]
    uv += ["--isolated", "--no-python-downloads", "--python", python]
    return [*uv, "--with-requirements", str(requirements), "--", "python"]


def check(recipe: Recipe | None = None, alone: bool = False) -> int:
    """Print a line for one recipe's newest model, or for all; 1 if an answer is
    wrong."""
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
    """Yield the outcome of each recipe; one without a model doesn't stop the others."""
    models = []
    for recipe in recipes:
        try:
            if alone:
                yield score_isolated(recipe)
            else:
                models.append((recipe, newest_model(recipe)))
        except CookbookError as error:
            yield Outcome(recipe, error=str(error))
    if models:
        yield from score_elsewhere(models)


def accept(recipe: Recipe) -> int:
    """Show how the newest model's answer differs from response.json, and write it.

    Asks before it writes; where nobody can be asked, YES=1 in the environment agrees.
    The `tolerance` stays. Returns 1 if a different answer was not written.
    """
    file = recipe.path / "response.json"
    before = recipe.json("response.json") if file.is_file() else {}
    tolerance = before.pop("tolerance", {})
    response = answer(recipe)
    # A table has its rows in `predictions`; what an agent answers is one object.
    rows = response.get("predictions", [response])
    if "predictions" in response:  # a copy may have dropped a column
        tolerance = {k: v for k, v in tolerance.items() if k in str(rows[:1])}
    rows_before = before.get("predictions", [before])
    if not differences(rows, rows_before, tolerance):
        print("the expected answer already")
        return 0
    pairs = zip_longest(rows, rows_before, fillvalue="no row")
    for number, (row, row_before) in enumerate(pairs):
        if differences(row, row_before, tolerance):
            print(f"row {number}\n  - {json.dumps(row_before)}\n  + {json.dumps(row)}")
    agreed = os.environ.get("YES") == "1"
    if not agreed and sys.stdin.isatty():
        agreed = input(f"write it to {file}? [y/N] ").lower() == "y"
    if not agreed:
        print("not written: add YES=1", file=sys.stderr)
        return 1
    file.write_text(response_text(response, tolerance), encoding="utf-8")
    return 0


def response_text(response: dict[str, Any], tolerance: dict[str, float]) -> str:
    """Return response.json: a line for each row of a table."""
    if "predictions" not in response:
        kept = {**response, "tolerance": tolerance} if tolerance else response
        return json.dumps(kept, indent=2) + "\n"
    rows = ",\n    ".join(json.dumps(row) for row in response["predictions"])
    end = f',\n  "tolerance": {json.dumps(tolerance)}' if tolerance else ""
    return f'{{\n  "predictions": [\n    {rows}\n  ]{end}\n}}\n'


check_isolated = partial(check, alone=True)


def check_contract(recipe: Recipe) -> int:
    """Run check-model on the recipe's newest model, beside the service it needs."""
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri()
    with ExitStack() as stack:
        start_services([recipe], stack)
        return print_check(newest_model(recipe))


def main(folder: str, *options: str) -> int:
    """Check or accept the recipe that was copied to the folder."""
    recipe = Recipe(Path(folder).resolve())
    try:
        if "--check" in options:
            return check_contract(recipe)
        return accept(recipe) if "--accept" in options else check(recipe)
    except CookbookError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
