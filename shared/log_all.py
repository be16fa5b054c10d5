"""Run every driver; print a table and write build/log-all.json."""

import json
import re
import runpy
import sys
from typing import Any

from shared.forks import output_file, run_in_forks
from shared.recipes import ROOT, Recipe, discover
from shared.store import OWN_STORE, shown_uri, tracking_uri, use_store

SUMMARY = ROOT / "build" / "log-all.json"
# The first lines of what shared.run.report prints.
REPORT = re.compile(
    r"^run     (?P<run_id>.+)\n"
    r"model   (?P<model_uri>models:/(?P<model_id>.+))\n"
    r"result  (?P<result>.*)$",
    re.M,
)


def import_packages() -> None:
    """Import what several drivers use: half of each driver's time would go into it."""
    import databricks.sdk  # noqa: F401
    import git  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import mlflow.data.pandas_dataset
    import mlflow.pyfunc.scoring_server
    import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401
    import openai  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.linear_model  # noqa: F401


def drive(recipe: Recipe) -> int:
    """Run the recipe's driver in this process."""
    driver = recipe.path / "driver.py"
    sys.path.insert(0, str(driver.parent))
    runpy.run_path(str(driver), run_name="__main__")
    return 0


def summarize(recipe: Recipe, exit_code: int, seconds: float) -> dict[str, Any]:
    """Return the recipe's row of the summary."""
    printed = output_file("log", recipe).read_text(encoding="utf-8", errors="replace")
    row = {"recipe": recipe.name, "seconds": round(seconds, 2)}
    report = REPORT.search(printed)
    if report and not exit_code:
        return row | report.groupdict() | {"status": "ok", "error": None}
    nothing = dict.fromkeys(REPORT.groupindex)
    error = (printed.strip() or "nothing printed").splitlines()[-1]
    return row | nothing | {"status": "failed", "error": error}


def format_table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each recipe: seconds, model, result."""
    lines = [f"{'recipe':<22}{'seconds':>8}  {'model':<44}result"]
    for row in rows:
        model = row["model_uri"] or "failed"
        result = row["result"] or row["error"]
        lines.append(f"{row['recipe']:<22}{row['seconds']:8.1f}  {model:<44}{result}")
    return "\n".join(lines)


def main() -> int:
    """Log all recipes; their services are up."""
    import_packages()
    recipes = discover()
    use_store(recipes[0].name)  # a new store is made before the drivers need it
    rows = {}
    for recipe, exit_code, seconds in run_in_forks(drive, recipes, "log"):
        rows[recipe.name] = summarize(recipe, exit_code, seconds)
    in_order = [rows[recipe.name] for recipe in recipes]
    SUMMARY.write_text(json.dumps(in_order, indent=2) + "\n", encoding="utf-8")
    print(f"\n{format_table(in_order)}")
    failed = [row["recipe"] for row in in_order if row["status"] == "failed"]
    for name in failed:
        print(f"\n{name} failed; its output: build/log/{name}.txt")
        print(f"again: make log RECIPE={name}")
    place = "`make ui`" if tracking_uri() == OWN_STORE else shown_uri()
    summary = "as JSON: build/log-all.json"
    print(f"\nlook at them: {place}; try them: `make smoke-all`; {summary}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
