"""What a tracking server costs at rest: as MLflow starts it, and with the settings of the guide.

Linux only: it reads /proc.
"""

import os
import signal
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.report import publish, served

OFF = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "as MLflow starts it": ([], {}),
    "`--workers 1`": (["--workers", "1"], {}),
    "`--workers 1`, job execution off": (["--workers", "1"], OFF),
}


def marked(mark: str) -> list[Path]:
    """Return /proc/<pid> of each process with that text in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or another user's
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process)
    return found


def proportional_bytes(process: Path) -> int:
    """Return the memory of a process, shared pages divided among those that share them (PSS)."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def at_rest(way: str, folder: str) -> dict[str, Any]:
    """Start the server, wait until it answers and starts no more processes, and look at it."""
    words, settings = WAYS[way]
    mark, seen = str(uuid.uuid4()), [0]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command = ["server", *store, "--artifacts-destination", f"{folder}/a", *words]
    with served(command, "health", **settings, COOKBOOK_MARK=mark):
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            time.sleep(1)
            seen.append(len(marked(mark)))
        memory = sum(map(proportional_bytes, marked(mark)))
    for process in marked(mark):  # job runners outlive their server
        os.kill(int(process.name), signal.SIGKILL)
    return {"server": way, "processes": seen[-1], "memory, MB": round(memory / 1e6)}


if __name__ == "__main__":
    rows = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(at_rest(way, folder))
    publish("team_server", {"A tracking server at rest, on SQLite": rows}, ["locks/dev.txt"])
