"""Answer known requests elsewhere: a line of JSON on standard input is a job.

Run by smoke.py as `python -I scorer.py` in `/`, so that nothing of the repository can
be imported. MLflow is imported once; each job is answered in a fork of this process.
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
from typing import Any

sys.modules["shared"] = sys.modules["recipes"] = None  # type: ignore[assignment]
import mlflow
import mlflow.pyfunc.scoring_server

gc.freeze()
gc.enable()


def answer(job: dict[str, Any]) -> None:
    """Write the model's answer, or the traceback, to the job's files."""
    os.environ.update(job["environment"])
    errors = os.open(job["errors"], os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    try:
        mlflow.models.predict(
            job["model"],
            input_path=job["request"],
            output_path=job["answer"],
            content_type="json",
            env_manager="local",
        )
    except BaseException:
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
