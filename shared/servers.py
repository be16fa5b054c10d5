"""Start what `make` runs in another process: drivers, checks, servers on loopback."""

import shlex
import socket
import sys
from contextlib import suppress

from shared import ROOT, CookbookError
from shared.processes import run_command
from shared.recipes import WARNINGS, Recipe, all_services, newest_model
from shared.store import open_store, print_command, shown_uri, tracking_uri

PYTHON = [sys.executable, *WARNINGS]
MLFLOW = [sys.executable, "-m", "mlflow"]


def log(recipe: Recipe) -> int:
    """Run the recipe's driver."""
    driver = recipe.path / "driver.py"
    print(f"$ python {driver.relative_to(ROOT)}", flush=True)
    return run_command([*PYTHON, str(driver)])


def log_all() -> int:
    """Run all drivers, beside the services that they need."""
    return run_command([*all_services(), *PYTHON, "-m", "shared.log_all"])


def smoke(recipe: Recipe) -> int:
    """Ask the recipe's newest model."""
    command = [*PYTHON, "-m", "shared.smoke", recipe.name]
    return run_command([*recipe.service_command, *command])


def smoke_all() -> int:
    """Ask all recipes' newest models, beside the services that they need."""
    return run_command([*all_services(), *PYTHON, "-m", "shared.smoke"])


def check_model(recipe: Recipe) -> int:
    """Say what will go wrong with the recipe's newest model in production."""
    model = newest_model(recipe)
    print_command(f"check-model {model}")
    command = [sys.executable, "-m", "check_model", model]
    return run_command([*recipe.service_command, *command])


def listen(
    command: list[str], port: int, service: list[str] | None = None, **more: str
) -> int:
    """Run a server on 127.0.0.1:port until Ctrl-C; CookbookError for a taken port."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CookbookError(f"port {port} is in use; choose another: PORT=")
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    plain = shlex.join(["python", *command[1:]])
    settings = [f"{name}={value}" for name, value in more.items()]
    print_command(" ".join([*settings, plain.replace("python -m mlflow", "mlflow")]))
    print(f"http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        return run_command([*(service or []), *command], **more)
    return 0


def serve(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model over REST."""
    command = [*MLFLOW, "models", "serve", "--env-manager", "local"]
    command += ["-m", newest_model(recipe)]
    return listen(command, port, recipe.service_command)


def serve_agent(recipe: Recipe, port: int) -> int:
    """Serve the recipe's newest model, an agent, as the OpenAI client expects it."""
    command = [sys.executable, "-m", "shared.agent_server", newest_model(recipe)]
    more = {"MLFLOW_EXPERIMENT_NAME": recipe.name}
    return listen(command, port, recipe.service_command, **more)


def ui(port: int) -> int:
    """Show MLflow's page over the store; MLflow's defaults would start 15 processes."""
    uri = tracking_uri()
    if not uri.startswith("sqlite:"):
        print(f"the runs are on {shown_uri()}")
        return 0
    if not open_store():
        raise CookbookError("nothing logged yet; make log-all")
    command = [*MLFLOW, "server", "--backend-store-uri", uri, "--workers", "1"]
    return listen(command, port, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
