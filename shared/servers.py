"""MLflow's own servers on loopback, in front of a recipe's newest model."""

import os
import shlex
import shutil
import socket
import sys
from contextlib import suppress

from shared import ROOT, CookbookError
from shared.processes import run
from shared.recipes import WARNINGS, Recipe, all_services, newest_model
from shared.store import open_store, tracking_uri

MLFLOW = [sys.executable, "-m", "mlflow"]
SERVICE = ["models", "serve", "--env-manager", "local"]


def print_command(words: list[str]) -> None:
    """Print the plain command that a verb stands for."""
    plain = "mlflow" if words[:3] == MLFLOW else "python"
    rest = words[3:] if words[:3] == MLFLOW else words[1:]
    print(f"$ {plain} {shlex.join(rest)}", flush=True)


def log(recipe: Recipe) -> int:
    """Run the recipe's driver."""
    driver = recipe.path / "driver.py"
    print(f"$ python {driver.relative_to(ROOT)}", flush=True)
    return run([sys.executable, *WARNINGS, str(driver)])


def log_all() -> int:
    """Run all drivers, beside the services that they need."""
    return run([*all_services(), sys.executable, *WARNINGS, "-m", "shared.log_all"])


def smoke(recipe: Recipe) -> int:
    """Ask the recipe's newest model its known request."""
    command = [sys.executable, *WARNINGS, "-m", "shared.smoke", recipe.name]
    return run([*recipe.service_command, *command])


def smoke_all() -> int:
    """Ask all recipes' newest models."""
    return run([*all_services(), sys.executable, *WARNINGS, "-m", "shared.smoke"])


def check_model(recipe: Recipe) -> int:
    """Say what will go wrong with the recipe's newest model in production."""
    model = newest_model(recipe)
    command = [sys.executable, "-m", "shared.check", model]
    print(f"$ check-model {model}", flush=True)
    return run([*recipe.service_command, *command], MLFLOW_TRACKING_URI=tracking_uri())


def listen(
    command: list[str], port: int, prefix: list[str] | None = None, **more: str
) -> int:
    """Run a server on 127.0.0.1:port until Ctrl-C; CookbookError for a taken port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fault = os.strerror(error.errno or 0).lower()
            raise CookbookError(
                f"port {port}: {fault}; choose another: PORT="
            ) from None
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    print_command(command)
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    more["MLFLOW_TRACKING_URI"] = tracking_uri()
    with suppress(KeyboardInterrupt):
        return run([*(prefix or []), *command], **more)
    return 0


def serve(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model over REST."""
    command = [*MLFLOW, *SERVICE, "-m", newest_model(recipe)]
    return listen(command, port, recipe.service_command)


def serve_agent(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model, an agent, as the OpenAI client expects it."""
    command = [sys.executable, "-m", "shared.agent_server", newest_model(recipe)]
    more = {"MLFLOW_EXPERIMENT_NAME": recipe.name}
    return listen(command, port, recipe.service_command, **more)


def dockerfile(recipe: Recipe) -> int:
    """Write build/docker/<recipe>: a Dockerfile, and the newest model beside it."""
    folder = ROOT / "build" / "docker" / recipe.name
    command = [*MLFLOW, "models", "generate-dockerfile", "-m", newest_model(recipe)]
    command += ["-d", str(folder)]
    shutil.rmtree(folder, ignore_errors=True)
    print_command(command)
    store = tracking_uri()
    failed = run(command, MLFLOW_LOGGING_LEVEL="WARNING", MLFLOW_TRACKING_URI=store)
    if not failed:
        print(f"$ docker build -t {recipe.name} {folder.relative_to(ROOT)}")
        print(f"$ docker run -p 127.0.0.1:5001:8080 {recipe.name}")
    return failed


def ui(port: int) -> int:
    """Show MLflow's page over the store; MLflow's defaults would start 15 processes."""
    uri = tracking_uri()
    if not uri.startswith("sqlite:"):
        print(f"the runs are on {uri}")
        return 0
    if not open_store():
        raise CookbookError("nothing logged yet; make log-all")
    command = [*MLFLOW, "server", "--backend-store-uri", uri, "--workers", "1"]
    return listen(command, port, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
