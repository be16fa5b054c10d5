"""Run every driver; print a table and write build/log-all.json."""

import json
import os
import runpy
import sys
from typing import Any

from shared.forks import output_file, run_in_forks
from shared.recipes import ROOT, Recipe, discover
from shared.store import OWN_STORE, tracking_uri, use_store

SUMMARY = ROOT / "build" / "log-all.json"


def import_packages() -> None:
    """Import what several drivers use: half of each driver's time would go into it."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import mlflow.data.pandas_dataset
    import mlflow.pyfunc.scoring_server
    import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401
    import openai  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    from mlflow.utils.requirements_utils import (
        warn_dependency_requirement_mismatches,
    )

    # It keeps the list of all installed packages, which log_model reads.
    warn_dependency_requirement_mismatches(["mlflow"])


def drive(recipe: Recipe) -> None:
    """Run the recipe's driver in this process."""
    if "databricks" not in tracking_uri():
        sys.modules["databricks.sdk"] = None  # type: ignore[assignment]  # 2 s to import
    result = output_file("log", recipe).with_suffix(".json")
    result.unlink(missing_ok=True)
    os.environ["COOKBOOK_RESULT"] = str(result)
    driver = recipe.path / "driver.py"
    sys.argv = [str(driver)]
    sys.path.insert(0, str(driver.parent))
    runpy.run_path(str(driver), run_name="__main__")


def summarize(recipe: Recipe, exit_code: int, seconds: float) -> dict[str, Any]:
    """Return the recipe's row of the summary."""
    row: dict[str, Any] = {"recipe": recipe.name, "seconds": round(seconds, 2)}
    output = output_file("log", recipe)
    result = output.with_suffix(".json")
    if exit_code == 0 and result.is_file():
        row |= json.loads(result.read_text(encoding="utf-8"))
        model_id = row["model_uri"].removeprefix("models:/")
        return row | {"model_id": model_id, "status": "ok", "error": None}
    text = output.read_text(encoding="utf-8", errors="replace").strip()
    error = (text or "nothing printed").splitlines()[-1]
    if exit_code == 0:
        error = f"it did not report a model; {error}"
    row |= dict.fromkeys(["run_id", "model_uri", "result", "model_id"])
    return row | {"status": "failed", "error": error}


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each recipe: seconds, model, result."""
    lines = [f"{'recipe':<22}{'seconds':>8}  {'model':<44}result"]
    for row in rows:
        model = row["model_uri"] or "failed"
        result = row["result"] or row["error"]
        lines.append(f"{row['recipe']:<22}{row['seconds']:8.1f}  {model:<44}{result}")
    return "\n".join(lines)


def main() -> int:
    """Log all recipes, beside the services that they need."""
    import_packages()
    recipes = discover()
    use_store(recipes[0].name)  # a new one is made before the drivers want it
    rows = {}
    for recipe, exit_code, seconds in run_in_forks(drive, recipes, "log"):
        row = summarize(recipe, exit_code, seconds)
        rows[recipe.name] = row
        count = f"[{len(rows)}/{len(recipes)}]"
        status = row["status"]
        print(f"{count} {recipe.name:<22} {status:<8}{seconds:6.1f} s", flush=True)
    in_order = [rows[recipe.name] for recipe in recipes]
    SUMMARY.write_text(json.dumps(in_order, indent=2) + "\n", encoding="utf-8")
    print(f"\n{table(in_order)}")
    failed = [row["recipe"] for row in in_order if row["status"] == "failed"]
    for name in failed:
        print(f"\n{name} failed; its output: build/log/{name}.txt")
        print(f"again: make log RECIPE={name}")
    place = "`make ui`" if tracking_uri() == OWN_STORE else tracking_uri()
    summary = "as JSON: build/log-all.json"
    print(f"\nlook at them: {place}; try them: `make smoke-all`; {summary}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
