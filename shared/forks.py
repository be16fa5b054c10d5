"""Run a function for each recipe, as many at a time as there are cores.

Each runs in a fork of this process: it begins with MLflow imported, which takes longer
than most of what it does then, and ends without a trace in the others.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import ROOT
from shared.recipes import Recipe
from shared.run import print_error


def run_in_forks(
    work: Callable[[Recipe], object], recipes: list[Recipe], folder: str
) -> Iterator[tuple[Recipe, int, float]]:
    """Yield each recipe as it ends, its exit code (negative: a signal), its seconds.

    What it prints is in build/<folder>/<recipe>.txt.
    """
    gc.freeze()  # the imported modules stay
    (ROOT / "build" / folder).mkdir(parents=True, exist_ok=True)
    waiting = list(recipes)
    running: dict[int, tuple[Recipe, float]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            recipe = waiting.pop(0)
            process = os.fork()
            if process == 0:
                os._exit(run(work, recipe, output_file(folder, recipe)))
            running[process] = recipe, time.monotonic()
        process, status = os.wait()
        recipe, start = running.pop(process)
        yield recipe, os.waitstatus_to_exitcode(status), time.monotonic() - start


def output_file(folder: str, recipe: Recipe) -> Path:
    """Return where what a recipe printed is kept."""
    return ROOT / "build" / folder / f"{recipe.name}.txt"


def run(work: Callable[[Recipe], object], recipe: Recipe, output: Path) -> int:
    """Run the function in this process, which was forked for it; return its exit code.

    An error is a line in the output.
    """
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        work(recipe)
    except SystemExit as ended:
        print(ended, file=sys.stderr)
        return 1
    except BaseException as error:
        print_error(type(error), error, error.__traceback__)
        return 1
    finally:
        sys.stdout.flush()
    return 0
