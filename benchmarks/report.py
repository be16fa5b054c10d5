"""What benchmarks share: turns taken fairly, MLflow's servers, tables on screen and as JSON."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from shared.recipes import ROOT
from shared.results import RESULTS, Rows, cell, digest, keep, markdown

__all__ = ["Rows", "cell", "interleave", "markdown", "publish"]


def interleave(rivals: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each callable; every round runs each one once, in turn.

    Taking turns spreads a machine's ups and downs over all rivals, so that ratios hold; each is
    called once beforehand, uncounted. Garbage collection is off while one is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for run in rivals.values():
        run()
    for _ in range(rounds):
        for name, run in rivals.items():
            seconds[name].append(timeit.timeit(run, number=1))
    return {name: statistics.median(times) for name, times in seconds.items()}


@contextmanager
def served(words: list[str], health: str, **settings: str) -> Iterator[str]:
    """Run one of MLflow's servers until the block ends; its host and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn is there
    command = [sys.executable, "-m", "mlflow", *words, "--host", "127.0.0.1", "--port", port]
    environment, null = {**os.environ, "PATH": path, **settings}, subprocess.DEVNULL
    server = subprocess.Popen(
        command, env=environment, stdout=null, stderr=null, start_new_session=True
    )
    try:
        while not answers(f"http://127.0.0.1:{port}/{health}"):
            if server.poll() is not None:
                raise RuntimeError(f"mlflow {words[0]} did not start")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def publish(name: str, tables: Mapping[str, Rows], measured: Sequence[str] = ()) -> None:
    """Print the tables and write benchmarks/results/<name>.json.

    `measured` names the files and folders whose code the numbers are about: by default the recipe
    of the running benchmark's name. Versions are those of its requirements.
    """
    benchmark = Path(str(sys.modules["__main__"].__file__)).stem
    measured = [*(measured or [f"recipes/{benchmark}"]), f"benchmarks/{benchmark}.py"]
    if missing := [place for place in measured if not (ROOT / place).exists()]:
        raise FileNotFoundError(f"measured, but not there: {missing}")
    pins = [file for place in measured for file in (ROOT / place).glob("requirements.txt")]
    text = "".join(file.read_text(encoding="utf-8") for file in pins)
    names = {"mlflow", *(pin.split("==")[0].lower() for pin in text.splitlines() if "==" in pin)}
    for title, rows in tables.items():
        print(f"\n{title}\n\n{markdown(rows)}")
    file = RESULTS / f"{name}.json"
    keep(file, names, digest(measured), measured=measured, tables=dict(tables))
    print(f"\n{file}")
