"""The frame around a driver: a run in the right store, and what is printed at the end."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.store import use_store

if TYPE_CHECKING:
    import mlflow
    from mlflow.models.model import ModelInfo


@contextmanager
def recipe_run(
    driver: str, description: str | None, name: str | None = None
) -> "Iterator[mlflow.ActiveRun]":
    """Open a run in the experiment of the driver's recipe, named after it (or `name`) and the time.

    Pass `__file__`, and in Markdown what the run's page in MLflow's UI shall say of it. MLflow adds
    the source file and the git commit to the run's tags. The run ends as FAILED on an error, on
    Ctrl-C and on a polite kill, which MLflow alone would leave RUNNING.
    """
    import mlflow

    recipe = Path(driver).resolve().parent.name
    use_store(recipe)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        called = f"{name or recipe} {datetime.now():%Y-%m-%d %H:%M:%S}"
        tags = {"recipe": recipe}
        with mlflow.start_run(run_name=called, tags=tags, description=description) as run:
            yield run
    finally:
        signal.signal(signal.SIGTERM, before)


def report(model: "ModelInfo", headline: str, prediction: Any) -> None:
    """Print what was logged; `make log-all` reads the first three lines."""
    shown = prediction.to_string() if hasattr(prediction, "to_string") else str(prediction)
    print(f"run     {model.run_id}")
    print(f"model   {model.model_uri}")
    print(f"result  {headline}\n")
    print(shown, flush=True)
