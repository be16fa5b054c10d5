"""The guide's servers: everything is logged to them and loaded from them."""

import os
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.processes import free_port, running_server

import pytest
import requests

from tests.conftest import blocks, only
from tests.verify.conftest import Logged, chosen

pytestmark = pytest.mark.verify
USE, *SERVERS = blocks("team-server", "bash")


@dataclass(frozen=True)
class Team:
    """A server to which a checkout has logged all recipes."""

    logged: Logged
    address: str
    files_before: set[str]
    printed: str  # by make log-all smoke-all


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def team(request, fresh_checkout, tmp_path_factory):
    """Start a server as the guide does, log all recipes to it and load them back."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "srv").mkdir()
    start = next(lines for lines in SERVERS if f"{request.param}:" in lines)
    names = [recipe.name for recipe in chosen()]
    checkout = only(fresh_checkout(request.param), *names)
    files_before = set(os.listdir(checkout))
    port = str(free_port())
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    with postgresql(request.param) as database:
        start = start.replace("/srv/mlflow", f"{folder}/srv").replace("5000", port)
        command = ["bash", "-c", start.replace(":5432", f":{database}")]
        with running_server(command, folder, f"{address}/health", log, PATH=path):
            logged = Logged(checkout)
            done = logged.typed(USE.replace("http://127.0.0.1:5000", address))
            yield Team(logged, address, files_before, done.stdout + done.stderr)
    assert "Traceback" not in log.read_text()


@contextmanager
def postgresql(kind: str):
    """Run a PostgreSQL made as the guide says; yield its port."""
    if kind == "sqlite":
        yield ""
        return
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    initdb = shutil.which("initdb") or max(debian, default=None)
    assert initdb, "PostgreSQL is missing: make system"
    programs, port = Path(initdb).resolve().parent, str(free_port())
    folder = Path(tempfile.mkdtemp(prefix="verify-postgresql-"))
    user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *words: str) -> None:
        command = [*user, str(programs / program), *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    data, options = ["-D", str(folder / "data")], f"-p {port} -h 127.0.0.1 -k {folder}"
    auth = ["--auth-local=trust", "--auth-host=scram-sha-256"]
    run("initdb", "-U", "postgres", *auth, *data)
    run("pg_ctl", *data, "-w", "start", "-l", str(folder / "log"), "-o", options)
    try:
        create = next(lines for lines in SERVERS if "sudo -u postgres" in lines)
        for line in create.splitlines():
            program, *words = shlex.split(line)[3:]
            run(program, "-h", str(folder), "-p", port, "-U", "postgres", *words)
        yield port
    finally:
        run("pg_ctl", *data, "-w", "stop", "-m", "fast")
        shutil.rmtree(folder)


def test_team_server(recipe, team):
    """What was logged is on the server, and nothing was left here."""
    logged = team.logged
    models = f"{team.address}/api/2.0/mlflow/logged-models"
    model = f"{models}/{logged.model_id(recipe)}"
    answer = requests.get(model, timeout=30).json()
    assert answer["model"]["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    smoke = team.printed.partition("build/log-all.json")[2]
    assert re.search(rf"^\[\d+/\d+\] {recipe.name} +ok ", smoke, re.M), team.printed
    assert set(os.listdir(logged.checkout)) - team.files_before <= {"build"}
    stranger = {"Host": "stranger.example"}
    assert requests.get(model, headers=stranger, timeout=30).status_code == 403
