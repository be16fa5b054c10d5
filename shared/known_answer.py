"""Ask a logged model its request.json, elsewhere, and compare with response.json.

A reload in the process that logged the model proves nothing: there, a forgotten
`set_model`, a missing file or an import of the repository goes unnoticed.

    python -m shared.known_answer MODEL             such as models:/my_model/latest
    python -m shared.known_answer MODEL --accept    make its answer the expected one

Both files are in the working directory, or in `--folder FOLDER`.
"""

import argparse
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from shared import CookbookError
from shared.store import open_store, print_command

# The function behind `mlflow models predict`: the command starts two seconds later.
PREDICT = """
import sys
import mlflow
model, request, answer, env_manager = sys.argv[1:]
mlflow.models.predict(
    model, input_path=request, output_path=answer, env_manager=env_manager
)
"""


def differences(
    answer: Any,
    expected: Any,
    tolerance: dict[str, float],
    place: str = "",
    column: str = "",
) -> list[str]:
    """Return where an answer differs from the expected one, one line each.

    Numbers under a key of `tolerance` may differ by that fraction (by that much, near
    zero); all else must be equal, and true is not 1.
    """
    kinds = {type(answer), type(expected)}
    lines = []
    if kinds == {dict} and answer.keys() == expected.keys():
        for key in expected:
            part = f"{place}.{key}"
            lines += differences(answer[key], expected[key], tolerance, part, key)
    elif kinds == {list}:
        pairs = zip_longest(answer, expected, fillvalue="nothing")
        for number, pair in enumerate(pairs):
            lines += differences(*pair, tolerance, f"{place}[{number}]", column)
    else:
        is_same = len(kinds) == 1 and answer == expected
        if kinds <= {int, float}:
            allowed = tolerance.get(column, 0.0)
            is_same = math.isclose(answer, expected, rel_tol=allowed, abs_tol=allowed)
        if not is_same:
            lines.append(f"{place}: got {answer!r}, expected {expected!r}")
    return lines


def find_faults(folder: Path, answer: Any) -> list[str]:
    """Return where an answer differs from the folder's response.json; [] is a pass."""
    expected = json.loads((folder / "response.json").read_text(encoding="utf-8"))
    tolerance = expected.pop("tolerance", {})
    return differences(answer, expected, tolerance)


def run_group(command: list[str], variables: dict[str, str]) -> tuple[int, str]:
    """Run a command in `/`; return its exit code, and what it wrote to stderr.

    Whatever it started is killed when it ends, or when this process is stopped.
    """
    with subprocess.Popen(
        command,
        cwd="/",
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr
        try:
            # At Ctrl-C communicate() would wait, and be killed meanwhile.
            errors = process.stderr.read()
            return process.wait(), errors
        finally:
            with suppress(ProcessLookupError):  # nobody is left in the group
                os.killpg(process.pid, signal.SIGKILL)


def ask(
    model: str,
    folder: Path,
    python: Sequence[str] = (sys.executable,),
    env_manager: str = "local",
) -> Any:
    """Return what `mlflow models predict` answers to the folder's request.json, in `/`.

    Prints that command. Raises CookbookError with the last line that the process
    printed if there is no answer.
    """
    if not open_store():
        raise CookbookError("nothing logged yet; make log")
    request = str(folder / "request.json")
    arguments = ["-m", model, "-i", request, "-t", "json"]
    arguments += ["--env-manager", env_manager]
    print_command(f"mlflow models predict {shlex.join(arguments)}")
    variables = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", **os.environ}
    path = variables.get("PATH", os.defpath)
    variables["PATH"] = f"{Path(sys.executable).parent}:{path}"
    variables.pop("PYTHONPATH", None)  # uv's process would search it
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "answer.json"
        # -I: neither the working directory nor PYTHONPATH is searched for imports.
        command = [*python, "-I", "-c", PREDICT]
        exit_code, errors = run_group(
            [*command, model, request, str(output), env_manager], variables
        )
        if output.is_file():
            return json.loads(output.read_text(encoding="utf-8"))
    if env_manager != "local":  # what failed stands far above the last line
        print(errors, file=sys.stderr)
    reason = ["it ended", *errors.strip().splitlines()][-1]
    if exit_code < 0:
        reason = f"crash: {signal.strsignal(-exit_code)}"
    raise CookbookError(f"{model} did not answer: {reason}")


def accept(answer: dict[str, Any], folder: Path) -> int:
    """Show where an answer differs from the folder's response.json, and write it.

    Asks before it writes; where nobody can be asked, YES=1 in the environment agrees.
    The `tolerance` stays. Returns 1 if a different answer was not written.
    """
    file = folder / "response.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tolerance = before.pop("tolerance", {})
    faults = differences(answer, before, tolerance)
    if not faults:
        print("the expected answer already")
        return 0
    print(*faults, sep="\n")
    agreed = os.environ.get("YES") == "1"
    if not agreed and sys.stdin.isatty():
        agreed = input(f"write it to {file}? [y/N] ").lower() == "y"
    if not agreed:
        print("not written: add YES=1", file=sys.stderr)
        return 1
    file.write_text(format_response(answer, tolerance), encoding="utf-8")
    return 0


def format_response(answer: dict[str, Any], tolerance: dict[str, float]) -> str:
    """Return response.json: a line for each row of a table."""
    content = {**answer, "tolerance": tolerance} if tolerance else answer
    text = json.dumps(content, indent=2) + "\n"
    rows = r"{\n[^{}]*\n *}"
    return re.sub(rows, lambda row: json.dumps(json.loads(row[0])), text)


def stop(number: int, frame: Any) -> None:
    """End this process at TERM as Ctrl-C does, so that its command is stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # make sends it twice
    sys.exit(128 + number)


def main() -> int:
    """Check or accept a model's answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path())
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    signal.signal(signal.SIGTERM, stop)
    try:
        answer = ask(chosen.model, folder)
    except CookbookError as error:
        sys.exit(str(error))
    if chosen.accept:
        return accept(answer, folder)
    faults = find_faults(folder, answer)
    verdict = "failed" if faults else "gives the known answer"
    print(f"{chosen.model} {verdict}", *faults, sep="\n  ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
