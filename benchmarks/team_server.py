"""What a tracking server costs at rest: MLflow's settings and those of the guide.

Linux only: it reads /proc.
"""

import os
import signal
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.report import marked_processes, publish, served

OFF = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
WAYS: dict[str, tuple[list[str], dict[str, str]]] = {
    "as MLflow starts it": ([], {}),
    "`--workers 1`": (["--workers", "1"], {}),
    "`--workers 1`, job execution off": (["--workers", "1"], OFF),
}


def proportional_bytes(process: int) -> int:
    """Return the memory of a process; shared pages are divided (PSS)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(
        int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")
    )


def at_rest(way: str, folder: str) -> dict[str, Any]:
    """Start the server, wait until it starts no more processes, and look at it."""
    words, settings = WAYS[way]
    mark, seen = str(uuid.uuid4()), [0]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command = ["server", *store, "--artifacts-destination", f"{folder}/a", *words]
    with served(command, "health", **settings, COOKBOOK_MARK=mark):
        while len(seen) < 10 or len(set(seen[-10:])) > 1:
            time.sleep(1)
            seen.append(len(marked_processes(mark)))
        memory = sum(map(proportional_bytes, marked_processes(mark)))
    for process in marked_processes(mark):  # job runners outlive their server
        os.kill(process, signal.SIGKILL)
    return {"server": way, "processes": seen[-1], "memory, MB": round(memory / 1e6)}


if __name__ == "__main__":
    rows = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(at_rest(way, folder))
    publish(
        "team_server", {"A tracking server at rest, on SQLite": rows}, ["locks/dev.txt"]
    )
