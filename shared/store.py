"""Open the store: `.mlflow/` of this folder, or the server a team points to."""

import logging
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from shared import ROOT, CookbookError

if TYPE_CHECKING:
    from mlflow.entities import Experiment

OWN_STORE = f"sqlite:///{ROOT / '.mlflow' / 'mlflow.db'}"
ADDRESSES = {  # where the store keeps addresses of files
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or OWN_STORE


def shown_uri() -> str:
    """Return tracking_uri() as it may be printed, without a password."""
    return re.sub("://[^/@]*@", "://", tracking_uri())


def print_command(command: str) -> None:
    """Print a command that can be run in this folder: with the store, if it is ours."""
    ours = "MLFLOW_TRACKING_URI=sqlite:///.mlflow/mlflow.db "
    store = ours if tracking_uri() == OWN_STORE else ""
    print(f"$ {store}{command}", flush=True)


def store_file() -> Path | None:
    """Return the store's SQLite file; None for a server's address."""
    kind, separator, path = tracking_uri().partition("sqlite:///")
    return Path(path).absolute() if separator and not kind else None


def open_store() -> bool:
    """Name the store in the environment, as MLflow expects; False if there is none yet.

    Raises CookbookError for a file that is no store: MLflow would try it for a minute.
    """
    if file := store_file():
        if not file.exists():
            return False
        try:
            follow_move(file)
        except sqlite3.Error as error:
            raise CookbookError(f"{file}: {error}") from None
    os.environ["MLFLOW_TRACKING_URI"] = tracking_uri()
    return True


def follow_move(file: Path) -> None:
    """After a move or a copy, point the store to the artifacts beside it."""
    artifacts = file.parent / "artifacts"
    with closing(sqlite3.connect(file, timeout=20)) as store:
        rows = store.execute("SELECT DISTINCT artifact_location FROM experiments")
        for (address,) in rows.fetchall():
            if not address.startswith("file:") or address == artifacts.as_uri():
                continue
            before = Path(url2pathname(urlsplit(address).path))
            if before.name != artifacts.name:
                continue  # not one that use_store gave
            was_copied = before.with_name(file.name).exists()  # the other store
            if artifacts.is_dir() and (was_copied or not before.exists()):
                for table, column in ADDRESSES.items():
                    change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                    store.execute(change, [address, artifacts.as_uri()])
        store.commit()


def find_experiment(name: str) -> "Experiment | None":
    """Return MLflow's experiment; CookbookError names a store that MLflow refuses."""
    import mlflow

    try:
        return mlflow.get_experiment_by_name(name)
    except mlflow.MlflowException as error:
        raise CookbookError(f"{shown_uri()}: {error}") from None


def use_store(experiment: str) -> None:
    """Make the experiment the active one; create what is missing.

    Artifacts are kept beside the store. MLflow's default would be `./mlruns` of the
    working directory.
    """
    import mlflow
    from filelock import FileLock

    mlflow.set_tracking_uri(tracking_uri())
    if file := store_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):  # two drivers at once make one store
            if not file.exists():
                create_store(file)
            open_store()
            if find_experiment(experiment) is None:
                artifacts = (file.parent / "artifacts").as_uri()
                mlflow.create_experiment(experiment, artifacts)
    mlflow.set_experiment(experiment)


def create_store(file: Path) -> None:
    """Create the tables in a file beside it, then move that into place.

    MLflow's migrations don't run in one transaction: a process that is killed in
    between would leave a store that is broken for good.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for name in ("alembic", "mlflow.store.db.utils"):  # they report each migration
        logging.getLogger(name).setLevel(logging.WARNING)
    new_file = file.with_name(f".{file.name}.new")
    new_file.unlink(missing_ok=True)
    artifacts = str(file.parent / "artifacts")
    SqlAlchemyStore(f"sqlite:///{new_file}", artifacts).engine.dispose()
    os.replace(new_file, file)
