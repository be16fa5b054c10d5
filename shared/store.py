"""Where runs and models are stored: `.mlflow/` of this checkout, or the server a team points to.

A new SQLite store is whole or absent, and one that cannot be used is named with a remedy: all that
reads or writes a store goes through `open_store`.

What was logged is what runs: the sha256 of each file of a model is kept with its run, the sha256 of
that list as a tag of the model, and whoever uses the model gets a copy compared with both.
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
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared.recipes import ROOT, Recipe

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

STATE = ROOT / ".mlflow"
OWN = f"sqlite:///{STATE / 'mlflow.db'}"
AWAY = "restore it from a backup, or move it away: the next log makes a new one"
REMEDIES = {  # what SQLite says: what to do
    "locked": "another process is writing to it: wait for it, or end it",
    "readonly": "it cannot be written: get the right to write there, or set MLFLOW_TRACKING_URI",
    "unable to open": "it cannot be read: get the right to, or set MLFLOW_TRACKING_URI",
    "no such table": f"it is not a store of MLflow: {AWAY}",
    "": f"it is damaged: {AWAY}",
}

# Before mlflow is imported: no usage reports, and no uv.lock of the working directory in a model
# (MLflow would restore the model's environment from it, over the model's own requirements), and
# no bar for each handful of local files.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


class Unusable(LookupError):
    """The store cannot be used; the message names its file, what is wrong and what to do."""


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or OWN


def open_store() -> bool:
    """Point MLflow to the store; False if there is none yet, for MLflow makes what it opens.

    Raises Unusable.
    """
    import mlflow

    uri = tracking_uri()
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        if not file.exists():
            return False
        _check(file)
    mlflow.set_tracking_uri(uri)
    return True


def _check(file: Path) -> None:
    import mlflow

    try:
        address = f"file:{quote(str(file.absolute()))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=20)) as store:
            store.execute("BEGIN IMMEDIATE")
            (version,) = store.execute("SELECT version_num FROM alembic_version").fetchone() or [""]
            size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            if store.execute(size).fetchone()[0] > file.stat().st_size:
                raise sqlite3.DatabaseError("the file is cut short")
    except sqlite3.Error as error:
        remedy = next(remedy for said, remedy in REMEDIES.items() if said in str(error))
        raise Unusable(f"{file}: {error}; {remedy}") from None
    steps = Path(mlflow.__file__).parent.glob("store/db_migrations/versions/*.py")
    known = {step.stem.split("_")[0]: step.read_text(encoding="utf-8") for step in steps}
    if version not in known:
        raise Unusable(
            f"{file}: schema {version!r} is newer than MLflow {mlflow.__version__}: use the MLflow "
            "that wrote it, or name another store with MLFLOW_TRACKING_URI"
        )
    if any(f'down_revision = "{version}"' in step for step in known.values()):
        raise Unusable(
            f"{file}: schema {version} is older than MLflow {mlflow.__version__}: make a copy of "
            f"the file, then .venv/bin/mlflow db upgrade {tracking_uri()}"
        )


def use_store(experiment: str) -> None:
    """Make `experiment` the active one, creating the store and it where they are missing.

    A local experiment gets an absolute artifact folder: with the SQLite address alone MLflow puts
    artifacts into `./mlruns` of whichever directory came first.
    """
    import mlflow
    from filelock import FileLock

    uri = tracking_uri()
    file = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    try:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock") if file else nullcontext():
            if not open_store() and file:
                _make(file)
                open_store()
            if uri == OWN and mlflow.get_experiment_by_name(experiment) is None:
                mlflow.create_experiment(experiment, (STATE / "artifacts").as_uri())
            mlflow.set_experiment(experiment)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}; {REMEDIES['readonly']}") from None


def _make(file: Path) -> None:
    """Make the schema in a file beside it, then move that into place.

    MLflow's hundred migrations are no single transaction: a process that is killed among them, or a
    second one that joins in, leaves a file that is broken for good.
    """
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
    ready = [model for model in logged_models(recipe.name) if model.status == "READY"]
    if not ready:
        raise LookupError(f"{recipe.name}: nothing logged yet; make log RECIPE={recipe.name}")
    return f"models:/{ready[0].model_id}"


def logged_models(name: str) -> "list[LoggedModel]":
    """Return the models of that name in the experiment of that name, newest first."""
    import mlflow

    experiment = mlflow.get_experiment_by_name(name) if open_store() else None
    # The store cannot filter by status; a model whose driver failed stays PENDING or FAILED.
    return list(
        mlflow.search_logged_models(
            [experiment.experiment_id],
            filter_string=f"name = '{name}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
            max_results=100,
            output_format="list",
        )
        if experiment
        else []
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(model: Path) -> dict[str, str]:
    """Return the sha256 of each file under the folder, but for Python's caches."""
    files = [path for path in model.rglob("*") if path.is_file()]
    return {
        path.relative_to(model).as_posix(): sha256(path.read_bytes())
        for path in sorted(files)
        if "__pycache__" not in path.parts
    }


def seal(run_id: str) -> None:
    """Keep the digests of the models that the run logged."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        with tempfile.TemporaryDirectory() as folder:
            place = mlflow.artifacts.download_artifacts(model.model_uri, dst_path=folder)
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
    try:
        listed = mlflow.artifacts.load_text(
            f"runs:/{model.source_run_id}/sha256/{model.model_id}.json"
        )
        copy = Path(mlflow.artifacts.download_artifacts(uri, dst_path=f"{folder}/model"))
    except (mlflow.MlflowException, OSError) as error:
        raise LookupError(f"{uri}: its files are gone: {error}") from None
    if sha256(listed.encode()) != tag:
        raise LookupError(f"{uri}: the list of its files was changed after it was logged")
    want, got = json.loads(listed), digests(copy)
    for file in sorted({*want, *got}):
        if want.get(file) != got.get(file):
            how = "is missing" if file not in got else "was changed" if file in want else "is new"
            raise LookupError(f"{uri}: {file} {how} since it was logged: not used")
    for cache in [*copy.rglob("__pycache__")]:
        shutil.rmtree(cache)
    return copy
