"""Where runs and models are stored: `.mlflow/` of this checkout, or the server a team points to.

A new SQLite store is whole or absent; all that uses a store goes through `open_store`. The sha256
of each file of a model is kept with its run, the sha256 of that list as a tag of the model, and
whoever uses the model gets a copy that was compared with both.
"""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, nullcontext
from pathlib import Path
from urllib.parse import quote

from shared.recipes import ROOT, Recipe

OWN = f"sqlite:///{ROOT / '.mlflow' / 'mlflow.db'}"
AWAY = "restore it from a backup, or move it away: the next log makes a new one"
RIGHTS = "get the right to read and write there, or set MLFLOW_TRACKING_URI"
REMEDIES = {  # what SQLite says: what to do
    "locked": "another process is writing to it: wait for it, or end it",
    **dict.fromkeys(("readonly", "unable to open"), RIGHTS),
    "no such table": f"it is not a store of MLflow: {AWAY}",
    "": f"it is damaged: {AWAY}",
}


class Unusable(LookupError):
    """The store cannot be used; the message names its file, what is wrong and what to do."""


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or OWN


def open_store() -> bool:
    """Point MLflow to the store; False if there is none yet. Raises Unusable."""
    import mlflow

    if file := _file():
        if not file.exists():
            return False
        _check(file)
    mlflow.set_tracking_uri(tracking_uri())
    return True


def _file() -> Path | None:
    uri = tracking_uri()
    return (
        Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    )


def _check(file: Path) -> None:
    import mlflow

    try:
        address = f"file:{quote(str(file.absolute()))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=20)) as store:
            (schema,) = store.execute(
                "SELECT version_num FROM alembic_version"
            ).fetchone() or [""]
            store.execute(
                "UPDATE alembic_version SET version_num = version_num"
            )  # rolled back
            size = (
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            )
            if store.execute(size).fetchone()[0] > file.stat().st_size:
                raise sqlite3.DatabaseError("the file is cut short")
    except sqlite3.Error as error:
        remedy = next(remedy for said, remedy in REMEDIES.items() if said in str(error))
        raise Unusable(f"{file}: {error}; {remedy}") from None
    steps = Path(mlflow.__file__).parent.glob("store/db_migrations/versions/*.py")
    revisions = {
        step.stem.split("_")[0]: step.read_text(encoding="utf-8") for step in steps
    }
    how = (
        "older"
        if f'down_revision = "{schema}"' in "".join(revisions.values())
        else "newer"
    )
    if how == "older" or schema not in revisions:
        do = {"newer": "use the MLflow that wrote it, or set MLFLOW_TRACKING_URI"}
        do["older"] = (
            f"copy the file, then .venv/bin/mlflow db upgrade {tracking_uri()}"
        )
        raise Unusable(
            f"{file}: its schema is {how} than MLflow {mlflow.__version__}: {do[how]}"
        )


def use_store(experiment: str) -> str:
    """Make `experiment` the active one, and it and the store where they are missing; return its id.

    Artifacts of a local experiment are kept beside the store; MLflow's default is `./mlruns`.
    """
    import mlflow
    from filelock import FileLock

    file = _file()
    try:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock") if file else nullcontext():
            if file and not open_store():
                _make(file)
            open_store()
            if file and mlflow.get_experiment_by_name(experiment) is None:
                place = file.absolute().parent / "artifacts"
                mlflow.create_experiment(experiment, place.as_uri())
            return mlflow.set_experiment(experiment).experiment_id
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}; {RIGHTS}") from None


def _make(file: Path) -> None:
    """Make the schema in a file beside it: MLflow's hundred steps are no single transaction."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for name in ("alembic", "mlflow.store.db.utils"):  # they tell of each step
        logging.getLogger(name).setLevel(logging.WARNING)
    for left in file.parent.glob(f".{file.name}.new*"):  # by a process that was killed
        left.unlink()
    new = file.with_name(f".{file.name}.new")
    SqlAlchemyStore(f"sqlite:///{new}", str(file.parent / "artifacts")).engine.dispose()
    os.replace(new, file)


def newest_model(recipe: Recipe) -> str:
    """Return the URI of the recipe's model that was logged last; LookupError if there is none."""
    import mlflow

    if open_store() and (experiment := mlflow.get_experiment_by_name(recipe.name)):
        asked = [experiment.experiment_id], f"name = '{recipe.name}'"
        newest_first = [{"field_name": "creation_timestamp", "ascending": False}]
        for model in mlflow.MlflowClient().search_logged_models(
            *asked, order_by=newest_first
        ):
            if model.status == "READY":  # not one that a driver failed to log
                return f"models:/{model.model_id}"
    raise LookupError(
        f"{recipe.name}: nothing logged yet; make log RECIPE={recipe.name}"
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(model: Path) -> dict[str, str]:
    """Return the sha256 of each file under the folder, but for Python's caches."""
    files = [
        f for f in model.rglob("*") if f.is_file() and "__pycache__" not in f.parts
    ]
    return {
        f.relative_to(model).as_posix(): sha256(f.read_bytes()) for f in sorted(files)
    }


def seal(run_id: str) -> None:
    """Keep the digests of the models that the run logged."""
    import mlflow

    client, made = mlflow.MlflowClient(), f"source_run_id = '{run_id}'"
    for model in client.search_logged_models(
        [client.get_run(run_id).info.experiment_id], made
    ):
        with tempfile.TemporaryDirectory() as folder:
            place = mlflow.artifacts.download_artifacts(
                model.model_uri, dst_path=folder
            )
            text = json.dumps(digests(Path(place)), indent=2)
        client.log_text(run_id, text, f"sha256/{model.model_id}.json")
        client.set_logged_model_tags(model.model_id, {"sha256": sha256(text.encode())})


def checked_copy(uri: str, folder: str) -> Path:
    """Copy the files of models:/m-<id> to the empty folder; return where they are.

    Caches stay behind: Python would run one in place of the source beside it. Raises LookupError
    naming the first file that is not as it was logged.
    """
    import mlflow

    model = mlflow.MlflowClient().get_logged_model(uri.removeprefix("models:/"))
    tag = (model.tags or {}).get("sha256")
    if not tag:
        raise LookupError(f"{uri} was logged without a list of its files: log it again")
    kept = f"runs:/{model.source_run_id}/sha256/{model.model_id}.json"
    try:
        listed = mlflow.artifacts.load_text(kept)
        copy = Path(
            mlflow.artifacts.download_artifacts(uri, dst_path=f"{folder}/model")
        )
    except (mlflow.MlflowException, OSError) as error:
        raise LookupError(f"{uri}: its files are gone: {error}") from None
    if sha256(listed.encode()) != tag:
        raise LookupError(
            f"{uri}: the list of its files was changed after it was logged"
        )
    want, got = json.loads(listed), digests(copy)
    for file in sorted({*want, *got}):
        if want.get(file) != got.get(file):
            how = (
                "is missing"
                if file not in got
                else "was changed"
                if file in want
                else "is new"
            )
            raise LookupError(f"{uri}: {file} {how} since it was logged: not used")
    for cache in [*copy.rglob("__pycache__")]:
        shutil.rmtree(cache)
    return copy
