"""Answer known requests elsewhere: a line of JSON on standard input is a job.

Run by smoke.py as `python -I scorer.py` in `/`, so that a model can import nothing of
the repository. MLflow is imported once; each job is answered in a fork of this process.
"""
# ruff: noqa: E402

import gc

# imports leave nothing to collect, and looking takes a third of their time
gc.disable()
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc.scoring_server

gc.freeze()
gc.enable()


def newest_model(recipe: Path) -> str:
    """Return the URI of the recipe's newest model."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from shared import recipes

    sys.path.pop(0)
    return recipes.newest_model(recipes.Recipe(recipe))


def hide_repository() -> None:
    """Let nothing import the repository, which is installed in the environment."""
    ours = [name for name in sys.modules if name.startswith("shared.")]
    for name in (*ours, "shared", "recipes"):
        sys.modules[name] = None  # type: ignore[assignment]


def answer(job: dict[str, Any]) -> None:
    """Write the model's answer, or the traceback, to the job's files."""
    os.environ.update(job["environment"])
    errors = os.open(job["errors"], os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    try:
        model = job["model"] or newest_model(Path(job["request"]).parent)
        hide_repository()
        mlflow.models.predict(
            model,
            input_path=job["request"],
            output_path=job["answer"],
            content_type="json",
            env_manager="local",
        )
    except BaseException as error:
        if type(error).__name__ == "CookbookError":  # one sentence
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()


def main() -> None:
    """Answer all jobs, as many at a time as there are cores; report each as it ends."""
    waiting = [json.loads(line) for line in sys.stdin]
    running: dict[int, tuple[str, float]] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            job = waiting.pop(0)
            pid = os.fork()
            if pid == 0:
                answer(job)
                sys.stderr.flush()
                os._exit(0)
            running[pid] = job["name"], time.monotonic()
        pid, status = os.wait()
        name, start = running.pop(pid)
        seconds = time.monotonic() - start
        print(
            json.dumps([name, seconds, os.waitstatus_to_exitcode(status)]), flush=True
        )


main()
