"""Open the store: `.mlflow/` of this folder, or the server a team points to."""

import logging
import os
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from shared import ROOT, CookbookError

OWN_STORE = f"sqlite:///{ROOT / '.mlflow' / 'mlflow.db'}"
RIGHTS = "get the right to read and write there, or set MLFLOW_TRACKING_URI"
REMEDIES = {  # part of what SQLite says, and what to do
    "unable to open": RIGHTS,
    "readonly": RIGHTS,
    "locked": "another process is writing to it: wait for it, or end it",
    "": "restore it from a backup, or move it away: the next log makes a new one",
}
ADDRESSES = {  # where the store keeps addresses of files
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or OWN_STORE


def store_file() -> Path | None:
    """Return the store's SQLite file; None for a server's address."""
    kind, separator, path = tracking_uri().partition("sqlite:///")
    return Path(path) if separator and not kind else None


def open_store() -> bool:
    """Point MLflow to the store; False if there is none yet.

    Raises CookbookError for a file that is no store of this MLflow version.
    """
    import mlflow

    file = store_file()
    if file and not file.exists():
        return False
    mlflow.set_tracking_uri(tracking_uri())
    if file:
        check_database(file)
        follow_move(file)
        try:
            mlflow.search_experiments(max_results=1)
        except mlflow.MlflowException as error:
            raise CookbookError(f"{file}: {str(error).splitlines()[0]}") from None
    return True


def check_database(file: Path) -> None:
    """Refuse a file that MLflow would try to open for a minute, or a damaged one."""
    address = f"file:{quote(str(file.absolute()))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=20)) as database:
            database.execute("SELECT count(*) FROM experiments").fetchone()
            # Without the right to write this fails; it is not committed.
            database.execute("UPDATE alembic_version SET version_num = version_num")
    except sqlite3.Error as error:
        remedy = next(do for part, do in REMEDIES.items() if part in str(error))
        raise CookbookError(f"{file}: {error}; {remedy}") from None


def follow_move(file: Path) -> None:
    """Point a store whose folder was moved to the artifacts that moved with it."""
    artifacts = file.absolute().parent / "artifacts"
    with closing(sqlite3.connect(file)) as database, database:
        rows = database.execute("SELECT artifact_location FROM experiments").fetchall()
        for (address,) in rows:
            before = address.partition("/artifacts")[0] + "/artifacts"
            is_gone = not Path(url2pathname(urlsplit(before).path)).exists()
            if before.startswith("file:") and is_gone and artifacts.is_dir():
                for table, column in ADDRESSES.items():
                    change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                    database.execute(change, [before, artifacts.as_uri()])


def use_store(experiment: str) -> str:
    """Make the experiment the active one and return its id; create what is missing.

    Artifacts of a local experiment are kept beside the store. MLflow's default would be
    `./mlruns` of the working directory.
    """
    import mlflow
    from filelock import FileLock

    file = store_file()
    try:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock") if file else nullcontext():
            if file and not file.exists():
                create_store(file)
            open_store()
            if file and mlflow.get_experiment_by_name(experiment) is None:
                artifacts = file.absolute().parent / "artifacts"
                mlflow.create_experiment(experiment, artifacts.as_uri())
            return mlflow.set_experiment(experiment).experiment_id
    except OSError as error:
        raise CookbookError(f"{file}: {error.strerror}; {RIGHTS}") from None


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
