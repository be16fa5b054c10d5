"""Measurements in benchmarks/results/: how they are made and shown."""

import hashlib
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from shared.processes import free_port, running_server
from shared.recipes import ROOT

import pandas as pd

Rows = list[dict[str, Any]]
RESULTS = ROOT / "benchmarks" / "results"
# In a table that begins with one of these the rows are rivals, and one can be the best.
RIVALS = {"", "model", "rule", "way", "reader"}
CODE = {".py", ".txt", ".json", ".csv", ".yml"}


def cell(value: Any) -> str:
    """Return a value as it stands in a table: measured ones with two digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    digits = 1 - math.floor(math.log10(abs(value))) if value else 1
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def markdown(rows: Rows, best: dict[str, str] | None = None) -> str:
    """Return the rows as a Markdown table; the first row's keys are the columns.

    `best` says "min" or "max" of a column: the best value there is set in bold.
    """
    head = list(rows[0])
    body = [[cell(row.get(column, "")) for column in head] for row in rows]
    for column, which in (best or {}).items() if head[0] in RIVALS else ():
        numbers = [
            row[column] for row in rows if isinstance(row.get(column), int | float)
        ]
        if len(numbers) < 2:
            continue
        winner = cell(min(numbers) if which == "min" else max(numbers))
        for line in body:
            place = head.index(column)
            if line[place] == winner:
                line[place] = f"**{winner}**"
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def titled(title: str, table: str, chart: str = "") -> str:
    """Return a table under its title; with a chart above it, it opens on a click."""
    if chart:
        inside = table.replace("\n", "\n    ")
        table = f'{chart}\n\n??? note "The numbers"\n\n    {inside}'
    return f"**{title}**\n\n{table}"


def digest(measured: Iterable[str]) -> str:
    """Return the sha256 of the code under these files and folders of the checkout."""
    found = hashlib.sha256()
    for place in sorted(measured):
        folder = ROOT / place
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            # The expected answer is no code, but is written anew when the code changes.
            if path.suffix in CODE and path.name != "response.json" and path.is_file():
                found.update(
                    path.relative_to(ROOT).as_posix().encode() + path.read_bytes()
                )
    return found.hexdigest()


def when(kept: dict[str, Any], command: str, now: str) -> str:
    """Return by what, when and on which code it was made; `now` is today's digest."""
    machine = kept["machine"]
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items()
    )
    said = (
        f"Made by `{command}` on {kept['date']} at commit {kept['commit']}: "
        f"{machine['cores']} cores, load average {machine['load_average'][0]}, "
        f"Python {machine['python']}, {versions}."
    )
    if now != kept["digest"]:
        said += " The measured code has changed since."
    return said


def page(
    name: str, charts: Mapping[str, str] | None = None, only: str | None = None
) -> str:
    """Return a measurement's tables, and when and on which code they were made.

    `charts` has the Markdown to show above the tables of some titles; `only` is the
    title of the one table that is wanted.
    """
    if not (file := RESULTS / f"{name}.json").is_file():
        return f"*Not measured yet: `make bench RECIPE={name}`.*"
    kept = json.loads(file.read_text(encoding="utf-8"))
    best = kept.get("best", {})
    wanted = {only: kept["tables"][only]} if only else kept["tables"]
    tables = [
        titled(title, markdown(rows, best), (charts or {}).get(title, ""))
        for title, rows in wanted.items()
    ]
    command = f"make bench RECIPE={kept['made_by']}"
    words = {
        word for table in tables for word in table.lower().split("| ---")[0].split()
    }
    timed = words & {"s", "ms", "second", "seconds", "rows/s", "requests/s"}
    ratios = " Read the ratios: seconds vary between machines." if timed else ""
    return "\n\n".join(
        [*tables, f"*{when(kept, command, digest(kept['measured']))}{ratios}*"]
    )


def keep(file: Path, packages: Collection[str], digest: str, **more: Any) -> None:
    """Write what was made, `more`, as JSON with its digest, date, commit and machine.

    `packages` are those whose versions are kept.
    """
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    versions = {
        d.name: d.version for d in distributions() if d.name.lower() in packages
    }
    kept = {
        "date": date.today().isoformat(),
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "machine": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "versions": dict(sorted(versions.items())),
        },
        "digest": digest,
        **more,
    }
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def interleave(
    rivals: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    timer: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Return the seconds of each callable, a column each, with a row for each round.

    Taking turns spreads a machine's ups and downs over all rivals, so that ratios hold;
    each is called once beforehand, uncounted. Garbage collection is off while one is
    timed. With `time.process_time` as timer they are this process's CPU seconds.
    """
    for run in rivals.values():
        run()
    seconds = [
        {
            name: timeit.timeit(run, timer=timer, number=1)
            for name, run in rivals.items()
        }
        for _ in range(rounds)
    ]
    return pd.DataFrame(seconds)


def spread(times: pd.Series) -> str:
    """Return the least and the most of the times."""
    return f"{cell(times.min())} to {cell(times.max())}"


def compare(measured: pd.DataFrame, way: str, unit: str, to: str, ratio: str) -> Rows:
    """Return a row for each column, the ways, with its ratio to the column `to`.

    `way`, `unit` and `ratio` are the titles in the table.
    """
    base = measured[to].median()
    return [
        {
            way: name,
            unit: values.median(),
            "least to most": spread(values),
            ratio: values.median() / base,
        }
        for name, values in measured.items()
    ]


def resident_mb() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@contextmanager
def served(words: list[str], health: str, **settings: str) -> Iterator[str]:
    """Run one of MLflow's servers until the block ends; its host and port."""
    address = f"127.0.0.1:{(port := free_port())}"
    place = Path(sys.executable).parent  # uvicorn's
    settings["PATH"] = f"{place}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "mlflow", *words]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    url, log = f"http://{address}/{health}", Path(os.devnull)
    with running_server(command, ROOT, url, log, **settings):
        yield address


def marked_processes(mark: str) -> dict[int, str]:
    """Return id -> command of the processes with the mark in their environment."""
    folders = [*Path("/proc").glob("[0-9]*")]
    if not folders:
        raise FileNotFoundError("there is no /proc with processes on this system")
    found = {}
    for process in folders:
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
    measured = [*(measured or [f"recipes/{benchmark}"])]
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
    kept: dict[str, Any] = {"made_by": benchmark, "measured": measured}
    kept |= {"best": dict(best or {}), "tables": dict(tables)}
    keep(file, names, digest(measured), **kept)
    print(f"\n{file}")
