"""MLflow's own servers on loopback: one recipe's model over REST, and the page over the store."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from shared.recipes import ROOT, Recipe
from shared.store import STATE, tracking_uri


def _mlflow(prefix: list[str], *words: str, **environment: str) -> int:
    """Run `mlflow WORDS` until Ctrl-C; MLflow itself looks for uvicorn on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        return subprocess.call(
            [*prefix, sys.executable, "-m", "mlflow", *words],
            env={**os.environ, "PATH": path, **environment},
        )
    except KeyboardInterrupt:
        return 0


def free(port: int) -> None:
    """Raise LookupError if something listens on 127.0.0.1:port; MLflow would end in a traceback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            said = os.strerror(error.errno or 0).lower()
            raise LookupError(f"port {port}: {said}; choose another with PORT=") from None


def serve(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model on 127.0.0.1:port until Ctrl-C."""
    from shared.smoke import newest_model

    free(port)
    uri = newest_model(recipe)
    print(f"{uri} on http://127.0.0.1:{port}/invocations (Ctrl-C ends it)", flush=True)
    where = ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    store = {"MLFLOW_TRACKING_URI": tracking_uri()}
    return _mlflow(recipe.runs_with, "models", "serve", "-m", uri, *where, **store)


def dockerfile(recipe: Recipe) -> int:
    """Write build/docker/<recipe>: a Dockerfile and the recipe's newest model beside it."""
    from shared.smoke import newest_model

    to = ROOT / "build" / "docker" / recipe.name
    shutil.rmtree(to, ignore_errors=True)
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_LOGGING_LEVEL": "WARNING"}
    store = {"MLFLOW_TRACKING_URI": tracking_uri(), **quiet}
    words = ["generate-dockerfile", "-m", newest_model(recipe), "-d", str(to)]
    failed = _mlflow([], "models", *words, **store)
    if not failed:
        print(f"docker build -t {recipe.name} {to.relative_to(ROOT)}")
        print(f"docker run -p 127.0.0.1:5001:8080 {recipe.name}")
    return failed


def ui(port: int) -> int:
    """Show MLflow's page over `.mlflow/` on 127.0.0.1:port until Ctrl-C.

    One worker and no job runner: MLflow's defaults start 15 processes.
    """
    if server := os.environ.get("MLFLOW_TRACKING_URI"):
        print(f"the runs are on {server}")
        return 0
    if not (STATE / "mlflow.db").exists():
        print("nothing logged yet; make log-all", file=sys.stderr)
        return 1
    free(port)
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    where = ["--backend-store-uri", tracking_uri(), "--host", "127.0.0.1", "--port", str(port)]
    jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return _mlflow([], "server", *where, "--workers", "1", **jobs)
