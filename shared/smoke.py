"""Score a logged model's known request in a second process elsewhere and compare the answer.

A reload in the process that logged the model proves nothing: there, a forgotten `set_model`, a
missing file or an import of the repository goes unnoticed.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.recipes import Recipe
from shared.store import tracking_uri

# The house's rule for recipe runs; MLflow warns of its own type hints when it is imported.
WARNINGS = ["-W", "error", "-W", "ignore::UserWarning:mlflow.types.type_hints"]

SCORE = """
import sys
sys.modules["shared"] = sys.modules["recipes"] = None  # an import of the repository must fail
import mlflow
uri, request, response = sys.argv[1:]
mlflow.models.predict(
    uri, input_path=request, content_type="json", output_path=response, env_manager="local"
)
"""


def newest_model(recipe: Recipe) -> str:
    """Return the URI of the recipe's model that was logged last; LookupError if there is none."""
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    experiment = mlflow.get_experiment_by_name(recipe.name)
    # The store cannot filter by status; a model whose driver failed stays PENDING or FAILED.
    models = experiment and mlflow.search_logged_models(
        [experiment.experiment_id],
        filter_string=f"name = '{recipe.name}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        max_results=100,
        output_format="list",
    )
    ready = [model for model in models or [] if model.status == "READY"]
    if not ready:
        raise LookupError(f"{recipe.name}: nothing logged yet; make log RECIPE={recipe.name}")
    return f"models:/{ready[0].model_id}"


def differences(got: Any, want: Any, tolerance: dict[str, float], at: str = "") -> list[str]:
    """Return where `got` differs from `want`, one line each.

    Numbers under a key of `tolerance` may differ by that fraction (by that much, near zero);
    all else must be equal, 1.0 and 1 apart from true.
    """
    if isinstance(want, dict) and isinstance(got, dict) and got.keys() == want.keys():
        pairs = [(got[key], want[key], f"{at}.{key}") for key in want]
    elif isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
        pairs = [(g, w, f"{at}[{i}]") for i, (g, w) in enumerate(zip(got, want, strict=True))]
    else:
        allowed = tolerance.get(at.rsplit(".", 1)[-1].split("[")[0], 0.0)
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (got, want))
        same = (
            math.isclose(got, want, rel_tol=allowed, abs_tol=allowed)
            if numbers
            else (type(got) is type(want) and got == want)
        )
        return [] if same else [f"{at}: got {got!r}, expected {want!r}"]
    return [line for g, w, path in pairs for line in differences(g, w, tolerance, path)]


def score_elsewhere(recipe: Recipe, model_uri: str, python: list[str] | None = None) -> Any:
    """Return what the model answers to request.json in a new process that runs in `/`.

    `python` starts that process; by default it is this interpreter, warnings being errors. Raises
    RuntimeError with the process's error output if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "response.json"
        python = python or [sys.executable, *WARNINGS]
        child = [*recipe.runs_with, *python, "-I", "-c", SCORE]
        done = subprocess.run(
            [*child, model_uri, str(recipe.path / "request.json"), str(answer)],
            cwd="/",
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri()},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{recipe.name}: {model_uri} did not answer\n{done.stderr.strip()}")
        return json.loads(answer.read_text(encoding="utf-8"))


def wrong(recipe: Recipe, answer: Any) -> list[str]:
    """Return the differences between an answer and response.json; [] is a pass."""
    want = recipe.json("response.json")
    tolerance = want.pop("tolerance", {})
    return differences(answer, want, tolerance)


def smoke(recipe: Recipe) -> list[str]:
    """Return what is wrong with the newest model's answer."""
    return wrong(recipe, score_elsewhere(recipe, newest_model(recipe)))


if __name__ == "__main__":  # python -m shared.smoke FOLDER: for a recipe that was copied out
    try:
        found = smoke(Recipe(Path(sys.argv[1]).resolve()))
    except (LookupError, RuntimeError) as error:
        found = [str(error)]
    print("\n".join(found) or "the known answer")
    sys.exit(int(found != []))
