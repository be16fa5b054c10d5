"""Child processes that stop when we do: commands, and servers of the tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 10  # seconds that a process has between TERM and KILL


def stop_on_term() -> None:
    """Let TERM end this process as Ctrl-C does, with time to stop its children."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # make sends it twice
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def stop_group(process: subprocess.Popen[Any]) -> None:
    """Stop a process and what it started: TERM, and KILL after PATIENCE seconds.

    A second Ctrl-C kills at once.
    """
    deadline = time.monotonic() + PATIENCE
    with suppress(ProcessLookupError):  # raised once nobody is left in the group
        try:
            os.killpg(process.pid, signal.SIGTERM)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child; this Python's commands come first on its PATH.

    MLflow looks for uvicorn there. MAKEFLAGS and the like are left out.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    variables = {**os.environ, "PATH": path, **more}
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        variables.pop(name, None)
    return variables


def run_command(command: list[str], **more: str) -> int:
    """Run a command to its end, Ctrl-C or TERM, and return its exit code."""
    process = subprocess.Popen(command, env=environment(**more), start_new_session=True)
    try:
        return process.wait()
    finally:
        stop_group(process)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(
    command: list[str], folder: Path, address: str, log: Path, **more: str
) -> Iterator[None]:
    """Start a server in the folder, wait for its address, stop it at the end."""
    import requests

    variables = environment(PYTHONPATH=str(folder), **more)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 600
        is_up = False
        while not is_up:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text() or "it ended")
            time.sleep(0.2)
            with suppress(requests.RequestException):
                is_up = requests.get(address, timeout=5).ok
        yield
    finally:
        stop_group(process)
