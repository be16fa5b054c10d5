"""What the tests share: checkouts, and one in which every recipe was logged."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared import processes
from shared.local_embeddings import started
from shared.recipes import ROOT, discover, find
from shared.store import create_store

import pytest
from filelock import FileLock

from tests import fake_service

KEY = "sk-01234"  # of the fake service: the shortest that is masked

os.environ.pop("MLFLOW_TRACKING_URI", None)  # the shell's store is left alone

# A recipe's model_code.py imports its package by the bare name, as in a loaded model.
for package in (ROOT / "recipes").glob("*/*/__init__.py"):
    sys.path.append(str(package.parents[1]))


@pytest.fixture(autouse=True)
def _no_store_left_in_the_environment():
    """Remove the store's variables, which MLflow sets: the next test has its own."""
    yield
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def fresh_checkout(tmp_path_factory):
    """Return a function that copies this checkout to a folder whose path has a space.

    `.venv` is linked to this one, and so is the embedding model if it was written here.
    """

    def make(name: str) -> Path:
        to = tmp_path_factory.mktemp(f"fresh {name}") / "checkout"
        git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.check_output(git, cwd=ROOT)
        for file in filter(None, listed.decode().split("\0")):
            if (ROOT / file).is_file():
                (to / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, to / file)
        (to / "build").mkdir()
        (to / ".venv").symlink_to(Path(sys.prefix))
        (to / "build/minilm.gguf").symlink_to(ROOT / "build/minilm.gguf")
        return to

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Return a function with which the first worker makes a path for all workers."""

    def make(name: str, how: Callable[[], Path]) -> Path:
        place = tmp_path_factory.getbasetemp()
        kept = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / name
        with FileLock(f"{kept}.lock"):
            if not kept.is_file():
                kept.write_text(str(how()))
        return Path(kept.read_text())

    return make


@pytest.fixture(scope="session")
def logged(request, fresh_checkout, once) -> Path:
    """Return a checkout after `make log-all`, one for all workers; --here: this one."""

    def log_all() -> Path:
        checkout = fresh_checkout("log-all")
        done = make(checkout, "log-all")
        assert done.returncode == 0, done.stdout + done.stderr
        return checkout

    here = request.config.getoption("--here")
    return ROOT if here else once("logged", log_all)


@pytest.fixture(scope="session")
def folder(logged):
    """Return a function: the folder of a recipe's logged model."""
    models = logged / ".mlflow/artifacts/models"
    ids = {row["recipe"]: row["model_id"] for row in summary(logged)}
    return lambda recipe: models / ids[recipe.name] / "artifacts"


@pytest.fixture(scope="session")
def new_store(tmp_path_factory, once):
    """Return a function that copies an empty store: making its tables takes seconds."""

    def create() -> Path:
        create_store(file := tmp_path_factory.mktemp("store") / "mlflow.db")
        return file

    made = once("empty store", create)

    def put(file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        shutil.copy(made, file)

    return put


@pytest.fixture
def empty_store(tmp_path, monkeypatch, new_store) -> Path:
    """An empty store of the test's own, which the environment names."""
    new_store(tmp_path / "runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    return tmp_path / "runs.db"


@pytest.fixture(scope="module")
def own_store(tmp_path_factory, new_store):
    """A store and a working directory of the module's own; nothing is traced."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("own"))
        new_store(folder / "mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.tracing.disable()
        mlflow.clear_active_model()  # metrics would go to it
        yield folder
        mlflow.tracing.enable()
        mlflow.set_tracking_uri(None)


@pytest.fixture
def traced():
    """Trace in a module that uses `own_store`."""
    import mlflow

    mlflow.tracing.enable()
    yield
    mlflow.tracing.disable()


@pytest.fixture(scope="module")
def local_services():
    """The services on this machine, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith("OPENAI_"):
                patch.delenv(name)
        with started():
            yield


@pytest.fixture
def service(monkeypatch):
    """A fake service, which the environment names; it fails as it is told."""
    with fake_service.running() as server:
        for name in ("OPENAI_BASE_URL", "OPENAI_EMBEDDING_BASE_URL"):
            monkeypatch.setenv(name, server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_MODEL", "fake")
        monkeypatch.delenv("OPENAI_EMBEDDING_MODEL", raising=False)
        yield server


def siblings(recipe: str, *names: str) -> list[Any]:
    """Import a recipe's files, which import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(find(recipe).path))
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        return [importlib.import_module(name) for name in names]


@contextmanager
def refusal(match: str) -> Iterator[Any]:
    """Hold that the block is refused with status 400 and quotes little of a value."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=match) as error:
        yield error
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"  # status 400
    assert "x" * 81 not in str(error.value)


def store_uri(checkout: Path) -> str:
    """Return the address of the checkout's store."""
    return f"sqlite:///{checkout}/.mlflow/mlflow.db"


def summary(checkout: Path) -> list[dict]:
    """Return what `make log-all` says of each recipe."""
    return json.loads((checkout / "build/log-all.json").read_text())


def model_uri(checkout: Path, recipe: str) -> str:
    """Return the URI of the model that `make log-all` logged for the recipe."""
    uris = {row["recipe"]: row["model_uri"] for row in summary(checkout)}
    return uris[recipe]


def only(checkout: Path, *names: str) -> Path:
    """Remove all recipes but those from the checkout; return it."""
    for recipe in discover():
        if recipe.name not in names:
            shutil.rmtree(checkout / "recipes" / recipe.name)
    return checkout


def make(checkout: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run make in the checkout, on the environment of this one."""
    typed = ["make", "--no-print-directory", "--assume-old=.venv/.recipes", *words]
    return run(typed, checkout, environment(checkout, **more))


def run(
    command: list[Any], folder: Path, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder; keep what it prints."""
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True
    )


def environment(checkout: Path, **more: str) -> dict[str, str]:
    """Return the variables of a process that imports from that checkout."""
    return processes.environment(PYTHONPATH=str(checkout), **more)


def own_variables() -> dict[str, str]:
    """Return the variables of a starter, which knows nothing of this checkout."""
    ours = ("PYTHON", "MAKE", "MLFLOW", "VIRTUAL_ENV", "PYTEST", "UV_BUILD")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def run_lines(lines: str, folder: Path, variables: dict[str, str] | None = None) -> str:
    """Run a shell's lines up to the first that fails; return what they print."""
    variables = processes.environment() if variables is None else variables
    result = run(["bash", "-ec", lines], folder, variables)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def make_in_starter(starter: Path, targets: str) -> str:
    """Run make in a starter whose `.venv` is this one; return what it prints."""
    command = f"make -s -o .venv/.installed {targets} YES=1"
    return run_lines(command, starter, own_variables())


def blocks(guide: str, language: str) -> list[str]:
    """Return the fenced blocks of docs/guides/GUIDE.md that are in that language.

    The marker that the site replaces by how to clone is left out.
    """
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text()
    text = text.replace("<!-- clone -->\n", "")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def pytest_addoption(parser):
    parser.addoption(
        "--cases", type=int, help="how many hostile inputs each recipe gets"
    )
    parser.addoption(
        "--here", action="store_true", help="use what `make log-all` logged here"
    )
    parser.addoption(
        "--keep-metrics", action="store_true", help="write tests/runs.json again"
    )
