"""Helpers around the recipes, each module for one job.

Import this package before mlflow: it sets variables that mlflow reads at its import.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of this checkout, or of a starter

# Ask no host: usage reports are off.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A uv.lock in the working directory would replace the model's own requirements.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
# Without git, MLflow records no commit; its library would print a page about it.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# No progress bar for a handful of local files.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


class CookbookError(Exception):
    """What was asked for can't be done; the message says why and what to do."""
