"""What every benchmark shares: turns taken fairly, and tables on screen and as JSON."""

import json
import os
import platform
import statistics
import timeit
from collections.abc import Callable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
BENCH = Path(__file__).resolve().parents[1] / "build" / "bench"


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


def cell(value: Any) -> str:
    """Return a value as it stands in a table: numbers with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(rows: Rows) -> str:
    """Return the rows as a Markdown table; the first row's keys are the columns."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([cell(row.get(c, "")) for c in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(name: str, tables: Mapping[str, Rows]) -> None:
    """Print the tables with versions and load average, and write build/bench/<name>.json.

    The versions are those of the recipe's own requirements.
    """
    recipe = Path(__file__).resolve().parents[1] / "recipes" / name
    pins = "".join(file.read_text(encoding="utf-8") for file in recipe.glob("requirements.txt"))
    names = {"mlflow", *(pin.split("==")[0].lower() for pin in pins.splitlines() if "==" in pin)}
    versions = {d.name: d.version for d in distributions() if d.name.lower() in names}
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": dict(sorted(versions.items())),
    }
    for title, rows in tables.items():
        print(f"\n{title}\n\n{markdown(rows)}")
    print(f"\n{json.dumps(machine)}")
    BENCH.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, "tables": dict(tables)}, indent=2)
    (BENCH / f"{name}.json").write_text(text + "\n", encoding="utf-8")
