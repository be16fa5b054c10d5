"""Run every driver in a process of its own, several at a time; sum up the results."""

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
from shared.run import print_error
from shared.store import OWN_STORE, tracking_uri, use_store

SUMMARY = ROOT / "build" / "log-all.json"


def output_file(recipe: Recipe) -> Path:
    """Return where `make log-all` keeps what the driver printed."""
    return ROOT / "build" / "log" / f"{recipe.name}.txt"


def drive(recipe: Recipe, environment: dict[str, str]) -> None:
    """Run the recipe's driver in this process, which was forked for it."""
    os.environ.update(environment)
    if "databricks" not in environment.get("MLFLOW_TRACKING_URI", ""):
        sys.modules["databricks.sdk"] = None  # type: ignore[assignment]  # 2 s to import
    output = output_file(recipe)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["COOKBOOK_RESULT"] = str(output.with_suffix(".json"))
    driver = recipe.path / "driver.py"
    sys.argv = [str(driver)]
    sys.path.insert(0, str(driver.parent))
    try:
        runpy.run_path(str(driver), run_name="__main__")
    except Exception as error:
        print_error(type(error), error, error.__traceback__)
        sys.exit(1)
    finally:
        sys.stdout.flush()


def summarize(recipe: Recipe, exit_code: int | None, seconds: float) -> dict[str, Any]:
    """Return the recipe's row of the summary."""
    row: dict[str, Any] = {"recipe": recipe.name, "seconds": round(seconds, 2)}
    output = output_file(recipe)
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


def drive_all(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """Run the drivers, as many at a time as there are cores; return a row for each.

    A driver's output goes to build/log/<recipe>.txt; a line is printed as each one
    starts and ends. Drivers are forked from a process that has imported what they
    share.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shared.preload"])
    forkserver.ensure_running()
    output_file(recipes[0]).parent.mkdir(parents=True, exist_ok=True)
    waiting = list(recipes)
    rows: dict[str, dict[str, Any]] = {}
    running: dict[Any, tuple[Recipe, float]] = {}
    # Starts are another thread's work, so that a signal interrupts none of them
    # halfway.
    starter = ThreadPoolExecutor(2)
    store = starter.submit(use_store, recipes[0].name)
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                recipe = waiting.pop(0)
                output_file(recipe).with_suffix(".json").unlink(missing_ok=True)
                process = context.Process(target=drive, args=(recipe, dict(os.environ)))
                running[process] = recipe, time.perf_counter()
                starter.submit(process.start).result()
                print(f"      {recipe.name:<22} started", flush=True)
            store.result()  # raises if the store can't be used
            wait([process.sentinel for process in running])
            for process in [each for each in running if not each.is_alive()]:
                recipe, start = running.pop(process)
                seconds = time.perf_counter() - start
                row = summarize(recipe, process.exitcode, seconds)
                rows[recipe.name] = row
                line = (
                    f"[{len(rows)}/{len(recipes)}] {recipe.name:<22} {row['status']:<8}"
                )
                print(f"{line}{seconds:6.1f} s", flush=True)
    finally:
        starter.shutdown()
        started = [process for process in running if process.pid]
        for process in started:
            process.terminate()
        for process in started:
            process.join(10)
            process.kill()
    return [rows[recipe.name] for recipe in recipes]


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each recipe: seconds, model, result."""
    lines = [f"{'recipe':<22}{'seconds':>8}  {'model':<44}result"]
    for row in rows:
        model = row["model_uri"] or "failed"
        result = row["result"] or row["error"]
        lines.append(f"{row['recipe']:<22}{row['seconds']:8.1f}  {model:<44}{result}")
    return "\n".join(lines)


def log_all() -> int:
    """Run every driver; print a closing table and write build/log-all.json."""
    with local_llm():  # one for all drivers that ask one
        rows = drive_all(discover())
    SUMMARY.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"\n{table(rows)}")
    failed = [row["recipe"] for row in rows if row["status"] == "failed"]
    for name in failed:
        print(f"\n{name} failed; its output: build/log/{name}.txt")
        print(f"again: make log RECIPE={name}")
    # MLflow writes the address of the store into the environment.
    place = "`make ui`" if tracking_uri() == OWN_STORE else tracking_uri()
    summary = "as JSON: build/log-all.json"
    print(f"\nlook at them: {place}; try them: `make smoke-all`; {summary}")
    return 1 if failed else 0
