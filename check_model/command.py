"""Say what will go wrong with a logged model from code, before production does.

check-model models:/churn/3          or a folder, runs:/<id>/model, models:/churn@a
check-model models:/churn/3 --json   for a program; --help lists all options
"""

import argparse
import json
import signal
import sys
from typing import Any

from check_model.answers import CheckError
from check_model.check import LIMIT, Result, check_model


def format_report(model: str, results: list[Result], as_json: bool = False) -> str:
    """Return all results as JSON, or errors, advice and what was skipped to read."""
    statuses = [outcome.status for outcome in results]
    counts = {name: statuses.count(name) for name in ("error", "advice", "skipped")}
    if as_json:
        rows = [outcome._asdict() for outcome in results]
        return json.dumps({"model": model, **counts, "results": rows}, indent=1)
    lines = [str(r) for status in counts for r in results if r.status == status]
    numbers = ", ".join(f"{number} {name}" for name, number in counts.items())
    return "\n".join([*lines, f"{model}: {len(results)} checks: {numbers}"])


def print_check(model: str, as_json: bool = False, **options: Any) -> int:
    """Check the model and print what is to be said of it; return the exit code."""
    try:
        results = check_model(model, **options)
    except CheckError as error:
        print(f"check-model: {model}: {error}", file=sys.stderr)
        return 2
    print(format_report(model, results, as_json))
    return int(any(outcome.status == "error" for outcome in results))


def main() -> int:
    """Check one model; 0 without errors, 1 with errors, 2 if it can't be checked."""
    about = str(__doc__).splitlines()[0]
    parser = argparse.ArgumentParser("check-model", description=about)
    parser.add_argument("model", help="models:/name/version, runs:/id/name or a folder")
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="print JSON"
    )
    parser.add_argument("--call", action="store_true", help="let it ask other hosts")
    parser.add_argument("--env-manager", choices=["local", "uv"], default="local")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a check")
    options = vars(parser.parse_args())
    # TERM ends the checked process as well, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return print_check(**options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
