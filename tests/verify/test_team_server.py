"""The guide's servers: everything is logged to them and loaded from them."""

import os
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.processes import free_port, running_server

import pytest
import requests

from tests.conftest import blocks, only
from tests.verify.conftest import Logged, chosen


@dataclass(frozen=True)
class Team:
    logged: Logged
    address: str
    before: set[str]  # what was in the checkout
    said: str  # by make smoke-all


@contextmanager
def team(checkout: Path, tmp_path: Path, start: str) -> Iterator[Team]:
    """Start a server as the guide does, log all recipes to it and load them back."""
    before = set(os.listdir(checkout))
    (tmp_path / "srv").mkdir()
    port = free_port()
    command = start.replace("/srv/mlflow", f"{tmp_path}/srv").replace("5000", str(port))
    address, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    with running_server(
        ["bash", "-c", command], tmp_path, f"{address}/health", log, PATH=path
    ):
        use = blocks("team-server", "bash")[0].replace("http://127.0.0.1:5000", address)
        done = Logged(checkout).typed(use)
        yield Team(Logged(checkout), address, before, done.stdout + done.stderr)
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="session")
def on_sqlite(fresh_checkout, pytestconfig, tmp_path_factory):
    start = next(block for block in blocks("team-server", "bash") if "sqlite:" in block)
    checkout = only(fresh_checkout("sqlite"), *chosen(pytestconfig))
    with team(checkout, tmp_path_factory.mktemp("sqlite"), start) as server:
        yield server


@pytest.fixture(scope="session")
def on_postgresql(fresh_checkout, pytestconfig, tmp_path_factory):
    """The same on a PostgreSQL that the test starts."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    initdb = shutil.which("initdb") or max(debian, default="")
    assert initdb, (
        "PostgreSQL is missing: make system (Debian: apt-get install postgresql)"
    )
    bin, port = Path(initdb).resolve().parent, free_port()
    folder = Path(tempfile.mkdtemp(prefix="verify-postgresql-"))
    user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]

    def run(*words) -> None:
        done = subprocess.run(
            [*user, *words], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    auth = ["--auth-local=trust", "--auth-host=scram-sha-256"]
    run(bin / "initdb", "-U", "postgres", *auth, "-D", folder / "data")
    options = f"-p {port} -h 127.0.0.1 -k {folder}"
    control = [bin / "pg_ctl", "-D", folder / "data", "-w"]
    run(*control, "start", "-l", folder / "log", "-o", options)
    try:
        create, start = (
            block for block in blocks("team-server", "bash") if "postgres" in block
        )
        for line in create.splitlines():
            words = shlex.split(line)[3:]
            run(
                bin / words[0],
                "-h",
                folder,
                "-p",
                str(port),
                "-U",
                "postgres",
                *words[1:],
            )
        start = start.replace(":5432", f":{port}")
        checkout = only(fresh_checkout("postgresql"), *chosen(pytestconfig))
        with team(checkout, tmp_path_factory.mktemp("postgresql"), start) as server:
            yield server
    finally:
        run(*control, "stop", "-m", "fast")
        shutil.rmtree(folder)


def check(recipe, team: Team) -> None:
    """What was logged is on the server, and nothing was left here."""
    logged, address = team.logged, team.address
    model = f"{address}/api/2.0/mlflow/logged-models/{logged.uri(recipe)[8:]}"
    said = requests.get(model, timeout=30)
    assert said.ok, said.text
    assert said.json()["model"]["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    after = team.said.partition("build/log-all.json")[2]
    assert re.search(rf"^\[\d/\d\] {recipe.name} +ok ", after, re.M), team.said
    assert set(os.listdir(logged.checkout)) - team.before <= {"build"}
    stranger = {"Host": "stranger.example"}
    assert requests.get(model, headers=stranger, timeout=30).status_code == 403


@pytest.mark.verify("team server (sqlite)")
def test_sqlite(recipe, on_sqlite):
    check(recipe, on_sqlite)


@pytest.mark.verify("team server (postgresql)")
def test_postgresql(recipe, on_postgresql):
    check(recipe, on_postgresql)
