"""Processes killed, interrupted or out of disk while they make a store."""

import signal
import subprocess
import sys
import time

from shared.recipes import ROOT

import pytest

from benchmarks.report import marked_processes
from tests.conftest import environment

KILLS = """
import os, pathlib, resource, signal, sys, time
import mlflow.store.tracking.sqlalchemy_store
from shared.store import open_store, use_store
folder, moments = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def making(file):
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{file}"
    pid = os.fork()
    if not pid:
        use_store("x")
        os._exit(0)
    return pid

start = time.perf_counter()
os.waitpid(making(folder / "whole.db"), 0)
seconds = time.perf_counter() - start
for moment in range(moments):
    file = folder / f"{moment}.db"
    if moment % 4 == 3:  # no room on the disk, at another size each time
        room = 900_000 * (moment + 1) // moments
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    pid = making(file)
    if moment % 4 != 3:
        time.sleep(seconds * 1.1 * moment / moments)
        os.kill(pid, signal.SIGINT if moment % 4 == 0 else signal.SIGKILL)
    os.waitpid(pid, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(open_store())  # raises if it is there and broken
    if moment % -(-moments // 3) == 0:
        use_store("x")
"""


def kills(folder, moments: int) -> list[str]:
    """Stop so many processes while each makes a store; tell whether there was one."""
    words = [sys.executable, "-c", KILLS, folder, str(moments)]
    done = subprocess.run(
        words, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_kills_while_a_store_is_made(tmp_path, cases, counts):
    moments = max(4, cases(4, 40))
    made = kills(tmp_path, moments)
    counts["moments"], counts["broken"] = len(made), 0
    counts["whole"], counts["absent"] = made.count("True"), made.count("False")
    assert len(made) == moments and counts["absent"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_leaves_no_process_behind(how, tmp_path):
    """make passes TERM on to what has had it already; a person presses Ctrl-C twice."""
    code = (
        "import os, sys\nfrom shared import cli, servers\nkill = os.killpg\n"
        f"os.killpg = lambda *to: (os.kill(os.getpid(), {int(how)}), kill(*to))\n"
        "servers.log = lambda recipe: servers.run(['sleep', '600'])\n"
        "sys.exit(cli.main(['log']))"
    )
    more = {"COOKBOOK_MARK": str(tmp_path), "RECIPE": "circle_area"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(ROOT, **more)
    )
    while (
        "sleep 600" not in str(marked_processes(str(tmp_path)))
        and process.poll() is None
    ):
        time.sleep(0.1)
    process.send_signal(how)
    assert process.wait(60) == 128 + how and marked_processes(str(tmp_path)) == {}
