"""Run every driver, several at a time, each in a process of its own, and sum up what was logged."""

import json
import multiprocessing
import os
import runpy
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from shared.local_llm import local_llm
from shared.recipes import ROOT, Recipe, discover
from shared.run import one_line
from shared.store import OWN, tracking_uri, use_store


def output_file(recipe: Recipe) -> Path:
    """Return where `make log-all` keeps what the driver printed."""
    return ROOT / "build" / "log" / f"{recipe.name}.txt"


def _drive(recipe: Recipe, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    if "databricks" not in os.environ.get("MLFLOW_TRACKING_URI", ""):
        sys.modules["databricks.sdk"] = None  # type: ignore  # evaluate would import it: 2 s
    output, driver = output_file(recipe), recipe.path / "driver.py"
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["COOKBOOK_RESULT"] = str(output.with_suffix(".json"))
    output.with_suffix(".json").unlink(missing_ok=True)
    sys.argv = [str(driver)]
    sys.path.insert(0, str(driver.parent))
    try:
        runpy.run_path(str(driver), run_name="__main__")
    except Exception as error:
        one_line(type(error), error, error.__traceback__)
        sys.exit(1)
    finally:
        sys.stdout.flush()


def _row(recipe: Recipe, exit_code: int | None, seconds: float) -> dict[str, Any]:
    output = output_file(recipe)
    row: dict[str, Any] = {"recipe": recipe.name, "seconds": round(seconds, 2)}
    if exit_code == 0 and (reported := output.with_suffix(".json")).is_file():
        row |= json.loads(reported.read_text(encoding="utf-8"))
        return row | {"model_id": row["model_uri"][8:], "status": "ok", "error": None}
    said = (
        output.read_text(encoding="utf-8", errors="replace").strip()
        or "nothing printed"
    )
    why = "" if exit_code else "it did not report a model; "
    row |= dict.fromkeys(["run_id", "model_uri", "result", "model_id"])
    return row | {"status": "failed", "error": why + said.splitlines()[-1]}


def drive_all(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """Run the drivers, as many at a time as there are cores, and return a row for each.

    A driver's output goes to build/log/<recipe>.txt; a line is printed as each one starts and ends.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shared.preload"])
    forkserver.ensure_running()
    output_file(recipes[0]).parent.mkdir(parents=True, exist_ok=True)
    waiting, rows = list(recipes), {}
    others = ThreadPoolExecutor(
        2
    )  # a signal ends what this thread does, and no start halfway
    store = others.submit(
        use_store, recipes[0].name
    )  # made while the modules are imported
    running: dict[Any, tuple[Recipe, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                recipe = waiting.pop(0)
                process = context.Process(
                    target=_drive, args=(recipe, dict(os.environ))
                )
                running[process] = recipe, time.perf_counter()
                others.submit(process.start).result()
                print(f"      {recipe.name:<22} started", flush=True)
            store.result()  # raises if it can't be used; a driver waits for it by itself
            wait([process.sentinel for process in running])
            for process in [each for each in running if not each.is_alive()]:
                recipe, start = running.pop(process)
                row = _row(recipe, process.exitcode, time.perf_counter() - start)
                rows[recipe.name] = row
                done = (
                    f"[{len(rows)}/{len(recipes)}] {recipe.name:<22} {row['status']:<8}"
                )
                print(f"{done}{row['seconds']:6.1f} s", flush=True)
    finally:  # Ctrl-C and TERM: no driver goes on by itself
        others.shutdown()
        begun = [process for process in running if process.pid]
        for process in begun:
            process.terminate()
        for process in begun:
            process.join()
    return [rows[recipe.name] for recipe in recipes]


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each recipe: seconds, model, result."""
    lines = [f"{'recipe':<22}{'seconds':>8}  {'model':<44}result"]
    for row in rows:
        what = f"{row['model_uri'] or 'failed':<44}{row['result'] or row['error']}"
        lines.append(f"{row['recipe']:<22}{row['seconds']:8.1f}  {what}")
    return "\n".join(lines)


def log_all() -> int:
    """Run every driver; print a closing table and write build/log-all.json."""
    with local_llm():  # one for all drivers that ask one
        rows = drive_all(discover())
    (ROOT / "build/log-all.json").write_text(
        json.dumps(rows, indent=2) + "\n", encoding="utf-8"
    )
    print(f"\n{table(rows)}")
    failed = [row["recipe"] for row in rows if row["status"] == "failed"]
    for name in failed:
        print(
            f"\n{name} failed; all it said: build/log/{name}.txt; again: make log RECIPE={name}"
        )
    place = (
        "`make ui`" if tracking_uri() == OWN else tracking_uri()
    )  # MLflow sets the variable
    print(
        f"\nlook at them: {place}; try them: `make smoke-all`; as JSON: build/log-all.json"
    )
    return int(bool(failed))
