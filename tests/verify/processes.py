"""Servers that a test, a benchmark or a picture needs: started, waited for, stopped."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.recipes import ROOT

import requests

from tests.conftest import environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


NULL = Path(os.devnull)


@contextmanager
def running(
    command: list[str], checkout: Path, address: str, log: Path, **more: str
) -> Iterator[None]:
    """Start a server's command, wait until `address` answers, stop its process group at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=checkout,
            env=environment(checkout, **more),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (
                log.read_text()
            )
            try:
                if requests.get(address, timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # in the background SIGINT is ignored
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def blocks(guide: str, language: str) -> list[str]:
    """Return the fenced blocks of docs/guides/GUIDE.md that are in that language."""
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)
