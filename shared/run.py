"""The frame around a driver: a run in the right store, and what is printed at the end."""

import json
import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.recipes import ROOT, leave
from shared.store import seal, use_store

if TYPE_CHECKING:
    import mlflow
    from mlflow.models.model import ModelInfo


@contextmanager
def recipe_run(
    driver: str, description: str | None, name: str | None = None
) -> "Iterator[mlflow.ActiveRun]":
    """Open a run in the experiment of the driver's recipe, named after it (or `name`) and the time.

    Pass `__file__`, and in Markdown what the run's page in MLflow's UI shall say of it. The run
    ends as FAILED on an error, Ctrl-C and a polite kill; what a hard kill left RUNNING ends here.
    The models that were logged in it are sealed (store.py).
    """
    import mlflow

    recipe = Path(driver).resolve().parent.name
    sys.excepthook = one_line
    end_dead_runs(use_store(recipe))
    called = f"{name or recipe} {datetime.now():%Y-%m-%d %H:%M:%S}"
    tags = {
        "recipe": recipe,
        "process": f"{platform.node()} {os.getpid()} {born(os.getpid())}",
    }
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with mlflow.start_run(
            run_name=called, tags=tags, description=description
        ) as run:
            try:
                yield run
            except BaseException:
                fail_models(run)
                raise
            seal(run.info.run_id)
    finally:
        signal.signal(signal.SIGTERM, before)


def report(model: "ModelInfo", headline: str, prediction: Any) -> None:
    """Print what was logged; for `make log-all` also as JSON, to the file that it names."""
    shown = (
        prediction.to_string() if hasattr(prediction, "to_string") else str(prediction)
    )
    print(
        f"run     {model.run_id}\nmodel   {model.model_uri}\nresult  {headline}\n\n{shown}"
    )
    if file := os.environ.get("COOKBOOK_RESULT"):
        result = {
            "run_id": model.run_id,
            "model_uri": model.model_uri,
            "result": headline,
        }
        Path(file).write_text(json.dumps(result), encoding="utf-8")


def one_line(
    kind: type[BaseException], error: BaseException, trace: Any = None
) -> None:
    """Say an error in one line with the place in our own code; the traceback goes to a file."""
    if issubclass(kind, KeyboardInterrupt):
        return print("interrupted", file=sys.stderr)
    ours = [f for f in traceback.extract_tb(trace) if "site-packages" not in f.filename]
    place = f" ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else ""
    said = (str(error).strip() or "no message").splitlines()[0]
    file = ROOT / "build" / f"traceback-{Path(sys.argv[0]).resolve().parent.name}.txt"
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            "".join(traceback.format_exception(kind, error, trace)), encoding="utf-8"
        )
    print(f"{kind.__name__}: {said}{place}; the traceback: {file}", file=sys.stderr)


def born(pid: int) -> str:
    """Return when the process started; "" if there is none: ids are given out again."""
    try:
        if Path("/proc/self/stat").exists():
            state, *numbers = (
                Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            )
            return "" if state in "ZX" else numbers[18]  # ended, not yet taken leave of
        asked = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True
        )
        return asked.stdout.decode().strip()
    except OSError:
        return ""


def fail_models(run: Any) -> None:
    """Mark the models as failed that were being logged when the run ended."""
    import mlflow

    client, made = mlflow.MlflowClient(), f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], made):
        if model.status == "PENDING":
            client.finalize_logged_model(model.model_id, "FAILED")


def end_dead_runs(experiment_id: str) -> None:
    """Mark runs, and their models, as failed that processes of this machine left when they died."""
    import mlflow

    client = mlflow.MlflowClient()
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        host, pid, start = [*run.data.tags.get("process", "").split(" ", 2), "", ""][:3]
        if host != platform.node() or born(int(pid)) == start:
            continue
        fail_models(run)
        client.set_terminated(run.info.run_id, "FAILED")
        print(
            f"run {run.info.run_name!r} was left by a process that died: marked as failed"
        )
