"""The guide's server, on PostgreSQL: everything is logged to it and loaded from it."""

import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.processes import environment, free_port, running_server

import pytest
import requests

from benchmarks.report import marked_processes
from tests.conftest import blocks, only, run_lines, summary
from tests.verify.conftest import chosen, typed

pytestmark = pytest.mark.verify
GUIDE = "team-server"


@dataclass(frozen=True)
class Team:
    checkout: Path
    address: str
    before: set[str]  # what was in the checkout
    printed: str  # by make log-all and make smoke-all


def block(language: str, word: str) -> str:
    """Return the guide's only block in that language with that word."""
    (text,) = (text for text in blocks(GUIDE, language) if word in text)
    return text


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[str, Path], None]]:
    """Start a PostgreSQL; return a function that runs the guide's lines beside it."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    initdb = shutil.which("initdb") or max(debian, default="")
    assert initdb, (
        "PostgreSQL is missing: make system (Debian: apt-get install postgresql)"
    )
    bin, port = Path(initdb).resolve().parent, str(free_port())
    folder = Path(tempfile.mkdtemp(prefix="verify-postgresql-"))
    owner = ""
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        owner = "runuser -u postgres -- "
    env = environment(PATH=f"{bin}:{sys.prefix}/bin:{os.environ['PATH']}")
    env |= {"PGHOST": str(folder), "PGPORT": port, "PGUSER": "postgres"}

    def run(lines: str, where: Path = folder) -> None:
        lines = lines.replace("sudo -u postgres ", owner).replace("5432", port)
        run_lines(lines, where, env)

    control = f"{owner}pg_ctl -D {folder}/data -w"
    auth = "--auth-local=trust --auth-host=scram-sha-256"
    run(f"{owner}initdb -U postgres {auth} -D {folder}/data")
    options = f"-p {port} -h 127.0.0.1 -k {folder}"
    run(f"{control} start -l {folder}/log -o '{options}'")
    try:
        yield run
    finally:
        run(f"{control} stop -m fast")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def team(run, fresh_checkout, tmp_path_factory) -> Iterator[Team]:
    """Start the server with the guide's settings, log all recipes, load them back."""
    checkout = only(fresh_checkout("team"), *[recipe.name for recipe in chosen()])
    before, place = set(os.listdir(checkout)), tmp_path_factory.mktemp("server")
    run(block("bash", "createdb"), place)
    settings = block('ini title="server.env"', "MLFLOW")
    settings += block("ini", "postgresql:") + block("ini", "ALLOWED")
    run(f"cat > server.env <<'end'\n{settings}end", place)
    port = free_port()
    start = block('bash title="terminal"', "server.env").replace("5000", str(port))
    address, log = f"http://127.0.0.1:{port}", place / "server.log"
    path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    more = {"PATH": path, "COOKBOOK_MARK": str(place)}
    command = ["bash", "-c", start]
    with running_server(command, place, f"{address}/health", log, **more):
        use = block("bash", "log-all").replace("http://127.0.0.1:5000", address)
        done = typed(checkout, use)
        commands = "\n".join(marked_processes(str(place)).values())
        yield Team(checkout, address, before, done.stdout + done.stderr)
        for backup in ("pg_dump", "db upgrade"):
            run(block("bash", backup), place)
    assert "Traceback" not in log.read_text()
    password = (place / "pgpass").read_text().strip().rpartition(":")[2]
    assert " server --host" in commands and password not in commands


def test_a_recipe_is_on_the_server_and_nothing_is_left_here(recipe, team):
    ids = {row["recipe"]: row["model_id"] for row in summary(team.checkout)}
    models = f"{team.address}/api/2.0/mlflow/logged-models"
    reply = requests.get(f"{models}/{ids[recipe.name]}", timeout=30)
    assert reply.ok, reply.text
    artifacts = reply.json()["model"]["info"]["artifact_uri"]
    assert artifacts.startswith("mlflow-artifacts:/")
    after = team.printed.partition("build/log-all.json")[2]
    assert re.search(rf"^\[\d+/\d+\] {recipe.name} +ok ", after, re.M), team.printed
    assert set(os.listdir(team.checkout)) - team.before <= {"build"}


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Host": "stranger.example"}, 403),
        ({"Host": "mlflow.example.com", "Origin": "https://mlflow.example.com"}, 200),
        ({"Host": "mlflow.example.com", "Origin": "https://stranger.example"}, 403),
    ],
)
def test_strangers_are_refused(team, headers, status):
    search = f"{team.address}/api/2.0/mlflow/experiments/search"
    body = {"max_results": 1}
    reply = requests.post(search, json=body, headers=headers, timeout=30)
    assert reply.status_code == status
