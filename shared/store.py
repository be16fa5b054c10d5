"""Where runs and models are kept: `.mlflow/` of this checkout, or the server a team points to."""

import os
from pathlib import Path

STATE = Path(__file__).resolve().parents[1] / ".mlflow"

# Before mlflow is imported: no usage reports, and no uv.lock of the working directory in a model
# (MLflow would restore the model's environment from it, over the model's own requirements), and
# no bar for each handful of local files.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STATE / 'mlflow.db'}"


def use_store(experiment: str) -> None:
    """Make `experiment` the active one, creating the store and it where they are missing.

    A local experiment gets an absolute artifact folder: with the SQLite address alone MLflow puts
    artifacts into `./mlruns` of whichever directory came first. One process at a time creates the
    schema, because SQLite files whose schema several processes create at once end up broken.
    """
    import logging

    import mlflow

    if os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_experiment(experiment)
        return

    from filelock import FileLock

    STATE.mkdir(exist_ok=True)
    mlflow.set_tracking_uri(tracking_uri())
    with FileLock(STATE / "store.lock"):
        # A new store tells of each of its hundred schema steps.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, (STATE / "artifacts").as_uri())
    mlflow.set_experiment(experiment)
