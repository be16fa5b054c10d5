"""The frame around a driver: a run in the right store, and what is printed at the
end."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.processes import stop_once
from shared.recipes import ROOT, Recipe
from shared.store import use_store

if TYPE_CHECKING:
    import mlflow
    from mlflow.models.model import ModelInfo


@contextmanager
def recipe_run(
    driver: str, description: str, name: str = ""
) -> "Iterator[mlflow.ActiveRun]":
    """Open a run in the experiment of the driver's recipe, named after it and the time.

    Pass `__file__`, and in Markdown what the run's page in MLflow's UI shows. On an
    error, Ctrl-C or TERM the run and the models logged in it end as FAILED.
    """
    import mlflow

    recipe = Recipe(Path(driver).resolve().parent).name
    sys.excepthook = print_error
    use_store(recipe)
    run_name = f"{name or recipe} {datetime.now():%Y-%m-%d %H:%M:%S}"
    tags = {"recipe": recipe}
    before = signal.signal(signal.SIGTERM, stop_once)
    try:
        with mlflow.start_run(
            run_name=run_name, tags=tags, description=description
        ) as run:
            try:
                yield run
            except BaseException:
                fail_models(run)
                raise
    except (KeyboardInterrupt, SystemExit) as stop:
        code = 130 if isinstance(stop, KeyboardInterrupt) else stop.code
        if code not in (130, 143):  # the driver's own exit
            raise
        print("interrupted", file=sys.stderr)
        sys.stdout.flush()
        # At a normal exit Python may wait for ever for an idle thread of MLflow's.
        os._exit(int(code))
    finally:
        signal.signal(signal.SIGTERM, before)


def fail_models(run: Any) -> None:
    """Mark the models as failed that were being logged when the run ended."""
    import mlflow

    client = mlflow.MlflowClient()
    logged_in_run = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], logged_in_run):
        if model.status == "PENDING":
            client.finalize_logged_model(model.model_id, "FAILED")


def report(model: "ModelInfo", headline: str, prediction: Any) -> None:
    """Print what was logged; for `make log-all` also as JSON, to the file that it
    names."""
    table = prediction.to_string() if hasattr(prediction, "to_string") else prediction
    print(f"run     {model.run_id}")
    print(f"model   {model.model_uri}")
    print(f"result  {headline}\n\n{table}")
    if file := os.environ.get("COOKBOOK_RESULT"):
        result = {"run_id": model.run_id, "model_uri": model.model_uri}
        result["result"] = headline
        Path(file).write_text(json.dumps(result), encoding="utf-8")


def print_error(
    kind: type[BaseException], error: BaseException, trace: Any = None
) -> None:
    """Print an error in one line with its place in our code; write the traceback to a
    file."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    frames = traceback.extract_tb(trace)
    own_frames = [frame for frame in frames if "site-packages" not in frame.filename]
    place = ""
    if own_frames:
        last = own_frames[-1]
        place = f" ({Path(last.filename).name}, line {last.lineno})"
    message = (str(error).strip() or "no message").splitlines()[0]
    folder = Path(sys.argv[0]).resolve().parent.name
    file = ROOT / "build" / f"traceback-{folder}.txt"
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        text = "".join(traceback.format_exception(kind, error, trace))
        file.write_text(text, encoding="utf-8")
    print(f"{kind.__name__}: {message}{place}; the traceback: {file}", file=sys.stderr)
