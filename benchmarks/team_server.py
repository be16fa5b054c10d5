"""What a tracking server costs at rest: as MLflow starts it, and with the settings of the guide.

python -m benchmarks.team_server      (Linux: it reads /proc)
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import requests

from benchmarks.report import publish

WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "as MLflow starts it": ([], {}),
    "`--workers 1`": (["--workers", "1"], {}),
    "`--workers 1`, job execution off": (
        ["--workers", "1"],
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    ),
}


def marked(mark: str) -> list[Path]:
    """Return /proc/<pid> of each process with that text in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process)
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def proportional_bytes(process: Path) -> int:
    """Return the memory of a process, shared pages divided among those that share them (PSS)."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def at_rest(way: str, folder: Path) -> dict[str, Any]:
    """Start the server, wait until it answers and starts no more processes, and look at it."""
    words, settings = WAYS[way]
    mark = str(uuid.uuid4())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", f"{folder}/a"]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn is there
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *where, *store, *words],
        env={**os.environ, **settings, "PATH": path, "COOKBOOK_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        seen: list[int] = []
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            time.sleep(1)
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                seen.append(len(marked(mark)))
            except requests.RequestException:
                continue
        memory = sum(map(proportional_bytes, marked(mark)))
        return {"server": way, "processes": seen[-1], "memory, MB": round(memory / 1e6)}
    finally:
        for process in marked(mark):
            os.kill(int(process.name), signal.SIGKILL)
        server.wait()


def main() -> None:
    rows = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(at_rest(way, Path(folder)))
    publish("team_server", {"A tracking server at rest, on SQLite": rows}, ["locks/dev.txt"])


if __name__ == "__main__":
    main()
