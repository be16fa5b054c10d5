"""Processes killed, interrupted, or out of disk while each makes a new store; killed twice."""

import signal
import subprocess
import sys
import time

import pytest

from shared.recipes import ROOT
from tests.conftest import environment, processes
from tests.test_store import kills


def test_kills_while_a_store_is_made(tmp_path, cases, counts):
    moments = max(4, cases(4, 40))
    made = kills(tmp_path, moments)
    counts["moments"], counts["broken"] = len(made), 0
    counts["whole"], counts["absent"] = made.count("True"), made.count("False")
    assert len(made) == moments and counts["absent"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_second_kill_does_not_cut_the_end_short(how, tmp_path):
    """make passes TERM on to what has had it already; a person presses Ctrl-C twice."""
    code = (
        "import os, sys\nfrom shared import cli, servers\nkill = os.killpg\n"
        f"os.killpg = lambda *to: (os.kill(os.getpid(), {int(how)}), kill(*to))\n"
        "servers.log = lambda recipe: servers.run(['sleep', '600'])\nsys.exit(cli.main(['log']))"
    )
    more = {"COOKBOOK_MARK": str(tmp_path), "RECIPE": "circle_area"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment(ROOT, **more))
    while "sleep 600" not in str(processes(str(tmp_path))) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(how)
    assert process.wait(60) == 128 + how and processes(str(tmp_path)) == {}
