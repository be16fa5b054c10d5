"""Run every driver, several at a time, each in a process of its own, and sum up what was logged."""

import contextlib
import json
import multiprocessing
import os
import runpy
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from shared.recipes import ROOT, Recipe


def output_file(recipe: Recipe) -> Path:
    """Return where `make log-all` keeps what the driver printed."""
    return ROOT / "build" / "log" / f"{recipe.name}.txt"


def _drive(driver: Path, output: Path) -> None:
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [str(driver)]
    sys.path.insert(0, str(driver.parent))
    try:
        runpy.run_path(str(driver), run_name="__main__")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()


def _row(recipe: Recipe, exit_code: int | None, seconds: float) -> dict[str, Any]:
    text = output_file(recipe).read_text(encoding="utf-8", errors="replace")
    said = {key: value for key, _, value in (line.partition(" ") for line in text.splitlines())}
    ok = exit_code == 0 and "model" in said
    uri = said.get("model", "").strip() or None
    last = text.strip().splitlines()[-1:] or [f"exit code {exit_code}, nothing printed"]
    return {
        "recipe": recipe.name,
        "status": "ok" if ok else "failed",
        "seconds": round(seconds, 2),
        "run_id": said["run"].strip() if ok else None,
        "model_id": uri.removeprefix("models:/") if ok and uri else None,
        "model_uri": uri if ok else None,
        "result": said.get("result", "").strip() if ok else None,
        "error": None if ok else last[0],
    }


def log_all(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """Run the drivers, as many at a time as there are cores, and return a row for each.

    A driver's output goes to build/log/<recipe>.txt; a line is printed as each one starts and ends.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shared.preload"])  # once, then each driver is a fork
    for recipe in recipes:
        output_file(recipe).parent.mkdir(parents=True, exist_ok=True)
        output_file(recipe).write_bytes(b"")
    waiting = list(recipes)
    running: dict[Any, tuple[Recipe, Any, float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            recipe = waiting.pop(0)
            process = context.Process(
                target=_drive, args=(recipe.path / "driver.py", output_file(recipe))
            )
            process.start()
            running[process.sentinel] = (recipe, process, time.perf_counter())
            print(f"      {recipe.name:<22} started", flush=True)
        for sentinel in wait(list(running)):
            recipe, process, start = running.pop(sentinel)
            process.join()
            row = rows[recipe.name] = _row(recipe, process.exitcode, time.perf_counter() - start)
            done = f"[{len(rows)}/{len(recipes)}]"
            print(f"{done} {recipe.name:<22} {row['status']:<8}{row['seconds']:6.1f} s", flush=True)
    return [rows[recipe.name] for recipe in recipes]


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the closing table, and for each failure its last line and how to run it again."""
    lines = [f"\n{'recipe':<22}{'seconds':>8}  {'model':<44}result"]
    for row in rows:
        what = (row["model_uri"], row["result"]) if row["model_uri"] else ("failed", row["error"])
        lines.append(f"{row['recipe']:<22}{row['seconds']:8.1f}  {what[0]:<44}{what[1]}")
    for row in rows:
        if row["status"] == "failed":
            lines.append(f"\n{row['recipe']} failed; its output: build/log/{row['recipe']}.txt")
            lines.append(f"run it again: make log RECIPE={row['recipe']}")
    return "\n".join(lines)


def write(rows: list[dict[str, Any]]) -> None:
    """Leave the rows in build/log-all.json."""
    path = ROOT / "build" / "log-all.json"
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
