"""A logged model alone: in an environment made only from the requirements logged with it."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from shared.recipes import ROOT, Recipe
from shared.smoke import newest_model, score_elsewhere, wrong
from shared.store import tracking_uri


def environment(requirements: str, python: str = sys.executable) -> Path:
    """Return the interpreter of an environment with these requirements (text of a file).

    They are kept under build/envs, by the hash of the requirements and of the Python: MLflow's own
    way, `mlflow.models.predict(env_manager="uv")`, makes a new one each time.
    """
    python = str(Path(python).resolve())
    key = hashlib.sha256(f"{python}\n{requirements}".encode()).hexdigest()[:16]
    place = ROOT / "build" / "envs" / key
    place.parent.mkdir(parents=True, exist_ok=True)
    interpreter = place / "bin" / "python"
    uv: list[str | Path] = [Path(sys.executable).parent / "uv", "-q"]
    with FileLock(f"{place}.lock"):
        if (place / "complete").exists():
            return interpreter
        print(f"making an environment from the model's requirements: {place}", flush=True)
        asked = place.with_suffix(".txt")
        asked.write_text(requirements, encoding="utf-8")
        commands: list[list[str | Path]] = [
            ["venv", "--clear", "--python", python, place],
            ["pip", "install", "--python", interpreter, "-r", asked],
        ]
        for command in commands:
            done = subprocess.run(
                [*uv, *command],
                env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"no environment from {asked}\n{done.stderr.strip()}")
        (place / "complete").touch()
    return interpreter


def score_isolated(recipe: Recipe, model_uri: str) -> Any:
    """Return what the model answers to request.json, given its own files and environment alone.

    They are copied out of the store to an empty folder; the process runs in `/` and sees neither
    the repository, nor the environment that logged the model, nor PYTHONPATH (`python -I`).
    """
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    with tempfile.TemporaryDirectory() as folder:
        model = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=folder))
        interpreter = environment((model / "requirements.txt").read_text(encoding="utf-8"))
        return score_elsewhere(recipe, str(model), python=[str(interpreter)])


def isolated(recipe: Recipe) -> list[str]:
    """Return what is wrong with the newest model's answer; [] is a pass."""
    return wrong(recipe, score_isolated(recipe, newest_model(recipe)))
