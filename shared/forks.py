"""Run a function for each recipe, as many at a time as there are cores.

Each runs in a fork of this process: it begins with what is imported here, and leaves
nothing behind in the others.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import ROOT, CookbookError
from shared.recipes import Recipe
from shared.run import print_error

from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches


def run_in_forks(
    work: Callable[[Recipe], int], recipes: list[Recipe], folder: str
) -> Iterator[tuple[Recipe, int, float]]:
    """Yield each recipe as it ends, its exit code (negative: a signal), its seconds.

    Prints a line for each. What the function prints is in
    `build/<folder>/<recipe>.txt`.
    """
    # MLflow looks up once a process which package each module is of, for a second.
    warn_dependency_requirement_mismatches(["mlflow"])
    gc.freeze()  # the imported modules stay
    (ROOT / "build" / folder).mkdir(parents=True, exist_ok=True)
    waiting = list(recipes)
    running: dict[int, tuple[Recipe, float]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            recipe = waiting.pop(0)
            process = os.fork()
            if process == 0:
                os._exit(run_in_fork(work, recipe, output_file(folder, recipe)))
            running[process] = recipe, time.monotonic()
        process, status = os.wait()
        recipe, start = running.pop(process)
        exit_code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - start
        count = f"[{len(recipes) - len(waiting) - len(running)}/{len(recipes)}]"
        verdict = "failed" if exit_code else "ok"
        print(f"{count} {recipe.name:<22} {verdict:<8}{seconds:6.1f} s", flush=True)
        yield recipe, exit_code, seconds


def output_file(folder: str, recipe: Recipe) -> Path:
    """Return the file with what a recipe printed."""
    return ROOT / "build" / folder / f"{recipe.name}.txt"


def run_in_fork(work: Callable[[Recipe], int], recipe: Recipe, output: Path) -> int:
    """Run the function in this process, which was forked for it; return its exit code.

    An error is a line in the output.
    """
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [str(recipe.path / "driver.py")]
    try:
        return work(recipe)
    except SystemExit as end:
        if not isinstance(end.code, str):
            return int(end.code or 0)
        print(end, file=sys.stderr)
    except CookbookError as error:
        print(error, file=sys.stderr)
    except BaseException as error:
        print_error(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
    return 1
