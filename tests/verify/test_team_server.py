"""The guide's servers: everything is logged to them and loaded from them."""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.processes import environment, free_port, running_server

import pytest
import requests

from benchmarks.report import marked_processes
from tests.conftest import blocks, only
from tests.verify.conftest import Logged, chosen

pytestmark = pytest.mark.verify
GUIDE, SETTINGS = "team-server", 'ini title="server.env"'


@dataclass(frozen=True)
class Team:
    logged: Logged
    address: str
    before: set[str]  # what was in the checkout
    said: str  # by make smoke-all
    commands: str  # of the server's processes


def names() -> list[str]:
    return [recipe.name for recipe in chosen()]


@contextmanager
def team(checkout: Path, folder: Path, settings: str) -> Iterator[Team]:
    """Start a server as the guide does, log all recipes to it and load them back."""
    before = set(os.listdir(checkout))
    (folder / "server.env").write_text(settings)
    port = free_port()
    start = next(b for b in blocks(GUIDE, 'bash title="terminal"') if "server.env" in b)
    command = start.replace("5000", str(port))
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    more = {"PATH": path, "COOKBOOK_MARK": str(folder)}
    with running_server(
        ["bash", "-c", command], folder, f"{address}/health", log, **more
    ):
        (use,) = (block for block in blocks(GUIDE, "bash") if "log-all" in block)
        use = use.replace("http://127.0.0.1:5000", address)
        done = Logged(checkout).typed(use)
        commands = "\n".join(marked_processes(str(folder)).values())
        yield Team(
            Logged(checkout), address, before, done.stdout + done.stderr, commands
        )
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def on_sqlite(fresh_checkout, tmp_path_factory):
    """SQLite, and what the guide adds for HTTPS."""
    (settings,) = blocks(GUIDE, SETTINGS)
    (https,) = (block for block in blocks(GUIDE, "ini") if "ALLOWED" in block)
    checkout = only(fresh_checkout("sqlite"), *names())
    folder = tmp_path_factory.mktemp("sqlite")
    with team(checkout, folder, settings + https) as server:
        yield server


@pytest.fixture(scope="module")
def on_postgresql(fresh_checkout, tmp_path_factory):
    """The same on a PostgreSQL that the test starts."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    initdb = shutil.which("initdb") or max(debian, default="")
    assert initdb, (
        "PostgreSQL is missing: make system (Debian: apt-get install postgresql)"
    )
    bin, port = Path(initdb).resolve().parent, free_port()
    folder = Path(tempfile.mkdtemp(prefix="verify-postgresql-"))
    owner = ""
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        owner = "runuser -u postgres -- "
    env = environment(PATH=f"{bin}:{sys.prefix}/bin:{os.environ['PATH']}")
    env |= {"PGHOST": str(folder), "PGPORT": str(port), "PGUSER": "postgres"}

    def run(lines: str, where: Path = folder) -> None:
        lines = lines.replace("sudo -u postgres ", owner).replace("5432", str(port))
        words = ["bash", "-ec", lines]
        done = subprocess.run(words, cwd=where, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    control = f"{owner}pg_ctl -D {folder}/data -w"
    auth = "--auth-local=trust --auth-host=scram-sha-256"
    run(f"{owner}initdb -U postgres {auth} -D {folder}/data")
    options = f"-p {port} -h 127.0.0.1 -k {folder}"
    run(f"{control} start -l {folder}/log -o '{options}'")
    place = tmp_path_factory.mktemp("postgresql")
    try:
        (create,) = (block for block in blocks(GUIDE, "bash") if "createdb" in block)
        run(create, place)
        (settings,) = blocks(GUIDE, SETTINGS)
        (uri,) = (block for block in blocks(GUIDE, "ini") if "postgresql:" in block)
        settings += uri.replace("5432", str(port))
        checkout = only(fresh_checkout("postgresql"), *names())
        with team(checkout, place, settings) as server:
            yield server
            password = (place / "pgpass").read_text().strip().rpartition(":")[2]
            assert "mlflow server" in server.commands
            assert password not in server.commands
            for word in ("pg_dump", "db upgrade"):
                (command,) = (b for b in blocks(GUIDE, "bash") if word in b)
                run(command, place)
    finally:
        run(f"{control} stop -m fast")
        shutil.rmtree(folder)


def check(recipe, team: Team) -> None:
    """What was logged is on the server, and nothing was left here."""
    logged, address = team.logged, team.address
    model = f"{address}/api/2.0/mlflow/logged-models/{logged.model_id(recipe)}"
    said = requests.get(model, timeout=30)
    assert said.ok, said.text
    assert said.json()["model"]["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    after = team.said.partition("build/log-all.json")[2]
    assert re.search(rf"^\[\d+/\d+\] {recipe.name} +ok ", after, re.M), team.said
    assert set(os.listdir(logged.checkout)) - team.before <= {"build"}
    stranger = {"Host": "stranger.example"}
    assert requests.get(model, headers=stranger, timeout=30).status_code == 403


def test_sqlite(recipe, on_sqlite):
    check(recipe, on_sqlite)
    search = f"{on_sqlite.address}/api/2.0/mlflow/experiments/search"
    page = {"Host": "mlflow.example.com", "Origin": "https://mlflow.example.com"}
    stranger = page | {"Origin": "https://stranger.example"}
    for headers, status in ((page, 200), (stranger, 403)):
        body = {"max_results": 1}
        said = requests.post(search, json=body, headers=headers, timeout=30)
        assert said.status_code == status


def test_postgresql(recipe, on_postgresql):
    check(recipe, on_postgresql)
