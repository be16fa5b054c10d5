"""Where runs and models are kept: `.mlflow/` of this checkout, or the server a team points to."""

import logging
import os
from contextlib import nullcontext
from pathlib import Path

STATE = Path(__file__).resolve().parents[1] / ".mlflow"

# Before mlflow is imported: no usage reports, and no uv.lock of the working directory in a model
# (MLflow would restore the model's environment from it, over the model's own requirements), and
# no bar for each handful of local files.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


OWN = f"sqlite:///{STATE / 'mlflow.db'}"


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or OWN


def use_store(experiment: str) -> None:
    """Make `experiment` the active one, creating the store and it where they are missing.

    A local experiment gets an absolute artifact folder: with the SQLite address alone MLflow puts
    artifacts into `./mlruns` of whichever directory came first. One process at a time creates the
    schema, because SQLite files whose schema several processes create at once end up broken.
    """
    import mlflow
    from filelock import FileLock

    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    if uri == OWN:
        STATE.mkdir(exist_ok=True)
    file = uri.removeprefix("sqlite:///")
    with FileLock(f"{file}.lock") if file != uri else nullcontext():
        # A new store tells of each of its hundred schema steps.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        if uri == OWN and mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, (STATE / "artifacts").as_uri())
        mlflow.set_experiment(experiment)
