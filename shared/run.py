"""What each driver runs in: a run in the right store, a summary printed at the end."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import ROOT
from shared.store import use_store

# A third of an import is Python's search for garbage, of which there is none. A driver
# imports this module first, and recipe_run turns the search on again.
gc.disable()

if TYPE_CHECKING:
    import mlflow
    from mlflow.models.model import ModelInfo


@contextmanager
def recipe_run(
    experiment: str, description: str, name: str = ""
) -> "Iterator[mlflow.ActiveRun]":
    """Open a run in the experiment, named `name` (or like the experiment) and the time.

    The description is what the run's page in MLflow's UI shows, in Markdown. On an
    error, Ctrl-C or TERM the run ends as FAILED.
    """
    import mlflow

    sys.excepthook = print_error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    use_store(experiment)
    gc.freeze()  # the imported modules stay
    gc.enable()
    run_name = f"{name or experiment} {datetime.now():%Y-%m-%d %H:%M:%S}"
    try:
        with mlflow.start_run(run_name=run_name, description=description) as run:
            yield run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        # At a normal exit Python may wait for ever for an idle thread of MLflow's.
        os._exit(130)


def report(model: "ModelInfo", headline: str, prediction: Any) -> None:
    """Print what was logged, and an answer of the model."""
    table = prediction.to_string() if hasattr(prediction, "to_string") else prediction
    print(f"run     {model.run_id}")
    print(f"model   {model.model_uri}")
    print(f"result  {headline}\n\n{table}")


def print_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an error with its place in our code; keep the traceback in build/."""
    place = ""
    for frame in traceback.extract_tb(trace):
        file = Path(frame.filename)
        if file.is_relative_to(ROOT) and "site-packages" not in file.parts:
            place = f" ({file.name}, line {frame.lineno})"
    message = (str(error).strip() or "no message").splitlines()[0]
    name = Path(sys.argv[0]).resolve().parent.name
    kept = ROOT / "build" / f"traceback-{name}.txt"
    kept.parent.mkdir(exist_ok=True)
    text = "".join(traceback.format_exception(kind, error, trace))
    kept.write_text(text, encoding="utf-8")
    print(f"{kind.__name__}: {message}{place}; the traceback: {kept}", file=sys.stderr)
