"""Score a logged model's known request in a second process elsewhere and compare the answer.

A reload in the process that logged the model proves nothing: there, a forgotten `set_model`, a
missing file or an import of the repository goes unnoticed.

    python -m shared.smoke FOLDER             a recipe that was copied out
    python -m shared.smoke FOLDER --accept    make the newest model's answer the expected one
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from shared.recipes import WARNINGS, Recipe, discover
from shared.store import checked_copy, newest_model, tracking_uri

SCORE = """
import sys
sys.modules["shared"] = sys.modules["recipes"] = None  # an import of the repository must fail
import mlflow
uri, request, response = sys.argv[1:]
mlflow.models.predict(
    uri, input_path=request, content_type="json", output_path=response, env_manager="local"
)
"""


def differences(
    got: Any, want: Any, tolerance: dict[str, float], at: str = ""
) -> list[str]:
    """Return where `got` differs from `want`, one line each.

    Numbers under a key of `tolerance` may differ by that fraction (by that much, near zero);
    all else must be equal, 1.0 and 1 apart from true.
    """
    if isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
        pairs = [(got[key], want[key], f"{at}.{key}") for key in want]
    elif isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
        pairs = [
            (g, w, f"{at}[{i}]") for i, (g, w) in enumerate(zip(got, want, strict=True))
        ]
    else:
        allowed = tolerance.get(at.rsplit(".", 1)[-1].split("[")[0], 0.0)
        if {type(got), type(want)} <= {int, float}:
            same = math.isclose(got, want, rel_tol=allowed, abs_tol=allowed)
        else:
            same = type(got) is type(want) and got == want
        return [] if same else [f"{at}: got {got!r}, expected {want!r}"]
    return [line for g, w, path in pairs for line in differences(g, w, tolerance, path)]


def score_elsewhere(recipe: Recipe, model: str, python: list[str] | None = None) -> Any:
    """Return what the model (URI or folder) answers to request.json in a new process in `/`.

    `python` starts that process; by default it is this interpreter, warnings being errors. Raises
    RuntimeError with the process's error output if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "response.json"
        words = [
            *recipe.runs_with,
            *(python or [sys.executable, *WARNINGS]),
            "-I",
            "-c",
            SCORE,
        ]
        words += [model, str(recipe.path / "request.json"), str(answer)]
        store = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()}
        store["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        done = subprocess.run(words, cwd="/", env=store, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(
                f"{recipe.name}: {model} did not answer\n{done.stderr.strip()}"
            )
        return json.loads(answer.read_text(encoding="utf-8"))


def answer(recipe: Recipe, alone: bool = False) -> Any:
    """Return what the newest model answers; `alone`, with no more than its own requirements."""
    uri = newest_model(recipe)
    with tempfile.TemporaryDirectory() as folder:
        model = checked_copy(uri, folder)
        python = python_with(model / "requirements.txt") if alone else None
        return score_elsewhere(recipe, str(model), python)


def wrong(recipe: Recipe, got: Any) -> list[str]:
    """Return the differences between an answer and response.json; [] is a pass."""
    want = recipe.json("response.json")
    return differences(got, want, want.pop("tolerance", {}))


def smoke(recipe: Recipe, alone: bool = False) -> list[str]:
    """Return what is wrong with the newest model's answer; [] is a pass."""
    return wrong(recipe, answer(recipe, alone))


def python_with(requirements: Path, python: str = sys.executable) -> list[str]:
    """Return the command of a Python that has these requirements and nothing else.

    uv keeps the environment in its cache: the second time takes as long as starting it.
    """
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "run",
        "-q",
        "--no-project",
        "--isolated",
    ]
    uv += ["--no-python-downloads", "--python", python]
    return [*uv, "--with-requirements", str(requirements), "--", "python"]


def check(recipe: Recipe | None = None, alone: bool = False) -> int:
    """Print what is wrong with one recipe's newest model, or with all; 1 if anything is."""

    def attempt(recipe: Recipe) -> tuple[list[str], float]:
        start = time.perf_counter()
        try:
            found = smoke(recipe, alone)
        except (LookupError, RuntimeError) as error:
            found = [str(error)]
        return found, time.perf_counter() - start

    recipes, failed = [recipe] if recipe else discover(), False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = zip(recipes, pool.map(attempt, recipes), strict=True)
        for number, (recipe, (found, seconds)) in enumerate(outcomes, 1):
            said = f"[{number}/{len(recipes)}] {recipe.name:<22} {'failed' if found else 'ok':<8}"
            print(f"{said}{seconds:6.1f} s")
            if found:
                found.append(
                    f"again: make {'isolated' if alone else 'smoke'} RECIPE={recipe.name}"
                )
                print(*(f"      {line}" for line in found), sep="\n", flush=True)
            failed |= bool(found)
    return int(failed)


def accept(recipe: Recipe) -> int:
    """Show how the newest model's answer differs from response.json, row by row, and write it.

    Asks before it writes; where nobody can be asked it takes YES=1 from the environment. The
    `tolerance` stays. Returns 1 if a different answer was not written.
    """
    file = recipe.path / "response.json"
    before = recipe.json("response.json") if file.is_file() else {}
    tolerance, said = before.pop("tolerance", {}), answer(recipe)
    # A table has its rows in `predictions`; what an agent answers is one object.
    new, old = said.get("predictions", [said]), before.get("predictions", [before])
    if not differences(new, old, tolerance):
        print("the expected answer already")
        return 0
    for number, (row, expected) in enumerate(zip_longest(new, old, fillvalue="no row")):
        if differences(row, expected, tolerance):
            print(f"row {number}\n  - {json.dumps(expected)}\n  + {json.dumps(row)}")
    if not (agreed := os.environ.get("YES") == "1") and sys.stdin.isatty():
        agreed = input(f"write it to {file}? [y/N] ").lower() == "y"
    if not agreed:
        print("not written: add YES=1", file=sys.stderr)
        return 1
    if tolerance:
        said["tolerance"] = tolerance
    lines = ",\n    ".join(json.dumps(row) for row in new)
    end = f',\n  "tolerance": {json.dumps(tolerance)}' if tolerance else ""
    rows = f'{{\n  "predictions": [\n    {lines}\n  ]{end}\n}}'
    text = rows if "predictions" in said else json.dumps(said, indent=2)
    file.write_text(f"{text}\n", encoding="utf-8")
    return 0


check_isolated = partial(check, alone=True)


if __name__ == "__main__":
    copied = Recipe(Path(sys.argv[1]).resolve())
    try:
        if "--accept" in sys.argv:
            sys.exit(accept(copied))
        said = smoke(copied)
    except (LookupError, RuntimeError) as error:
        said = [str(error)]
    print("\n".join(said) or "the known answer")
    sys.exit(int(said != []))
