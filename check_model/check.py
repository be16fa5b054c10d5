"""Run the checks of a model, in a process or an environment of its own."""

import functools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from check_model.answers import CheckError, examine, model_folder, run_params
from check_model.files import Files, no_secrets

LIMIT = 60.0  # seconds that one check may take


class Result(NamedTuple):
    """What one check says of a model; its status is ok, error, advice or skipped."""

    name: str
    status: str
    seen: str
    why: str = ""
    mend: str = ""
    pitfall: str = ""

    def __str__(self) -> str:
        lines = [f"{self.status:<8}{self.name}: {self.seen}"]
        lines += [line for line in (self.why, self.mend, self.pitfall) if line]
        return "\n        ".join(lines)


@functools.cache
def read_checks() -> dict[str, list[str]]:
    """Return what checks.md says of each check, in its order; the pitfalls are last."""
    text = Path(__file__).with_name("checks.md").read_text("utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines()[2:]]
    return {name.strip(" `"): [cell.strip() for cell in row] for name, *row in rows}


def result(name: str, status: str, seen: str) -> Result:
    """Return a check's result, a finding with why it matters and what mends it."""
    if status in ("ok", "skipped"):
        return Result(name, status, seen)
    if status == "failed":
        seen = f"check-model itself failed: {seen}"
        return Result(name, "error", seen, "It says nothing of the model: report it.")
    level, _, why, mend, pitfalls = read_checks()[name]
    pitfall = f"Pitfall: {pitfalls.split()[0]}" if pitfalls else ""
    status = level if status == "found" else status
    return Result(name, status, seen, why, mend, pitfall)


def check_model(
    model: str, call: bool = False, env_manager: str = "local", limit: float = LIMIT
) -> list[Result]:
    """Return the result of each check of a model: its folder, or its URI in the store.

    With `call` it may ask other hosts; `env_manager="uv"` runs it in an environment
    made of its requirements. CheckError if it can't be checked.
    """
    if env_manager == "uv":
        return check_isolated(str(model), call, limit)
    # The process is a fork of multiprocessing's fork server, which imports MLflow once.
    processes = multiprocessing.get_context("forkserver")
    preloaded = ["mlflow.pyfunc.scoring_server", "check_model.answers"]
    processes.set_forkserver_preload(preloaded)
    pipe, theirs = processes.Pipe(duplex=False)
    script = sys.modules["__main__"]
    with tempfile.TemporaryDirectory() as place:
        given = (str(model), call, [*read_checks()], dict(os.environ), place, theirs)
        process = processes.Process(target=examine, args=given)
        # The process would run the caller's script again.
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = script
        theirs.close()
        try:
            return list(receive(pipe, limit))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            pipe.close()


def receive(pipe: Any, limit: float) -> Iterator[Result]:
    """Yield what the process sends; what comes after a check that hangs is skipped."""
    stop = ""
    for name in ("", *read_checks()):
        if stop:
            yield result(name, "skipped", f"not reached: {stop}")
            continue
        try:
            # It starts with a download, which is no check.
            ends = pipe.poll(limit if name else None)
            message = pipe.recv() if ends else f"no end after {limit:g} s"
        except EOFError:
            message = "its process crashes"
        if not name and message:
            raise CheckError(message)
        if isinstance(message, str):
            stop = f"{name}: {message}"
            message = ("error", message)
        if name:
            yield result(name, *message)


def check_isolated(model: str, call: bool, limit: float) -> list[Result]:
    """Return the results from an environment with the model's requirements alone."""
    folder = model_folder(model)
    folder_of_python = str(Path(sys.executable).parent)
    uv = shutil.which("uv") or shutil.which("uv", path=folder_of_python)
    if not uv:
        raise CheckError("uv is not here: pip install uv")
    command = [uv, "run", "-q", "--no-project", "--isolated"]
    command += ["--python", sys.executable]
    command += ["--with-requirements", f"{folder}/requirements.txt"]
    command += ["--", "python", "-s", "-m", "check_model"]
    command += [str(folder), "--json", f"--limit={limit}"]
    if call:
        command.append("--call")
    with tempfile.TemporaryDirectory() as place:  # with check-model and nothing else
        shutil.copytree(Path(__file__).parent, Path(place) / "check_model")
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if not done.stdout:
        reason = " ".join(done.stderr.split()) or f"uv ends with {done.returncode}"
        raise CheckError(reason[-600:])
    rows = json.loads(done.stdout)["results"]
    # That environment may be unable to read the run that logged the model.
    files = Files(folder)
    files.run_params = run_params(model, files.meta.run_id)
    secret = next(no_secrets(files), "")
    here = {"no-secrets": result("no-secrets", "found" if secret else "ok", secret)}
    return [here.get(row["name"]) or Result(**row) for row in rows]
