"""Processes that end with us: a driver, and MLflow's own servers on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from shared.recipes import ROOT, WARNINGS, Recipe
from shared.store import checked_copy, newest_model, open_store, tracking_uri

MLFLOW = [sys.executable, "-m", "mlflow"]


def run(words: list[str], **environment: str) -> int:
    """Run a command to its end, Ctrl-C or TERM; no process that it started is left behind.

    The commands of this environment come first on its PATH: MLflow looks there for uvicorn.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    variables = {
        **os.environ,
        "PATH": path,
        "MLFLOW_TRACKING_URI": tracking_uri(),
        **environment,
    }
    process = subprocess.Popen(words, env=variables, start_new_session=True)
    try:
        return process.wait()
    finally:
        with suppress(ProcessLookupError):  # until nobody is left in its group
            os.killpg(process.pid, signal.SIGTERM)
            for _ in range(100):
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)


def log(recipe: Recipe) -> int:
    """Run the recipe's driver."""
    return run([sys.executable, *WARNINGS, str(recipe.path / "driver.py")])


def listen(words: list[str], port: int, what: str, **environment: str) -> int:
    """Run one of MLflow's servers on 127.0.0.1:port until Ctrl-C; LookupError for a taken port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            said = os.strerror(error.errno or 0).lower()
            raise LookupError(
                f"port {port}: {said}; choose another with PORT="
            ) from None
    print(f"{what} on http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        return run([*words, "--host", "127.0.0.1", "--port", str(port)], **environment)
    return 0


def serve(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model over REST."""
    uri = newest_model(recipe)
    with tempfile.TemporaryDirectory() as folder:
        model = str(checked_copy(uri, folder))
        words = [*recipe.runs_with, *MLFLOW, "models", "serve", "-m", model]
        return listen([*words, "--env-manager", "local"], port, f"{uri}, /invocations")


def serve_agent(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model, an agent, as the OpenAI client expects it."""
    uri = newest_model(recipe)
    with tempfile.TemporaryDirectory() as folder:
        model = str(checked_copy(uri, folder))
        words = [*recipe.runs_with, sys.executable, "-m", "shared.agent_server", model]
        what = f"{uri}, /responses and /invocations"
        return listen(words, port, what, MLFLOW_EXPERIMENT_NAME=recipe.name)


def dockerfile(recipe: Recipe) -> int:
    """Write build/docker/<recipe>: a Dockerfile and the recipe's newest model beside it."""
    to = ROOT / "build" / "docker" / recipe.name
    uri = newest_model(recipe)
    shutil.rmtree(to, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *MLFLOW,
            "models",
            "generate-dockerfile",
            "-m",
            str(checked_copy(uri, folder)),
        ]
        failed = run([*words, "-d", str(to)], MLFLOW_LOGGING_LEVEL="WARNING")
    if not failed:
        print(f"docker build -t {recipe.name} {to.relative_to(ROOT)}")
        print(f"docker run -p 127.0.0.1:5001:8080 {recipe.name}")
    return failed


def ui(port: int) -> int:
    """Show MLflow's page over the store; MLflow's defaults would start 15 processes."""
    if not (uri := tracking_uri()).startswith("sqlite:"):
        print(f"the runs are on {uri}")
        return 0
    if not open_store():
        raise LookupError("nothing logged yet; make log-all")
    words = [*MLFLOW, "server", "--backend-store-uri", uri, "--workers", "1"]
    return listen(
        words, port, "runs and models", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"
    )
