"""What benchmarks share: turns taken fairly, MLflow's servers, tables on screen and as
JSON."""

import os
import statistics
import sys
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT
from shared.results import RESULTS, Rows, cell, digest, keep, markdown

__all__ = ["Rows", "cell", "interleave", "markdown", "publish"]


def interleave(
    rivals: Mapping[str, Callable[[], object]], rounds: int = 7
) -> dict[str, float]:
    """Return the median seconds of each callable; every round runs each one once, in
    turn.

    Taking turns spreads a machine's ups and downs over all rivals, so that ratios hold;
    each is called once beforehand, uncounted. Garbage collection is off while one is
    timed.
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
    address = f"127.0.0.1:{(port := free_port())}"
    settings["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # uvicorn's
    )
    command = [
        sys.executable,
        "-m",
        "mlflow",
        *words,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with running_server(
        command, ROOT, f"http://{address}/{health}", Path(os.devnull), **settings
    ):
        yield address


def marked_processes(mark: str) -> dict[int, str]:
    """Return id -> command of the processes with the mark in their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                command = (process / "cmdline").read_text().replace("\0", " ")
                found[int(process.name)] = command
    return found


def publish(
    name: str,
    tables: Mapping[str, Rows],
    measured: Sequence[str] = (),
    best: Mapping[str, str] | None = None,
) -> None:
    """Print the tables and write benchmarks/results/<name>.json.

    `measured` names the files and folders whose code the numbers are about: by default
    the recipe of the running benchmark's name. Versions are those of its requirements.
    `best` says "min" or "max" of a column, for the page to set its best value in bold.
    """
    benchmark = Path(str(sys.modules["__main__"].__file__)).stem
    measured = [*(measured or [f"recipes/{benchmark}"]), f"benchmarks/{benchmark}.py"]
    if missing := [place for place in measured if not (ROOT / place).exists()]:
        raise FileNotFoundError(f"measured, but not there: {missing}")
    pins = [
        file for place in measured for file in (ROOT / place).glob("requirements.txt")
    ]
    text = "".join(file.read_text(encoding="utf-8") for file in pins)
    names = {
        "mlflow",
        *(pin.split("==")[0].lower() for pin in text.splitlines() if "==" in pin),
    }
    for title, rows in tables.items():
        print(f"\n{title}\n\n{markdown(rows)}")
    file = RESULTS / f"{name}.json"
    more = {"measured": measured, "best": dict(best or {}), "tables": dict(tables)}
    keep(file, names, digest(measured), **more)
    print(f"\n{file}")
