"""check-model says what will go wrong in production with a logged model from code.

It needs MLflow and what the model needs, nothing else. The model runs in a process of
its own, in an empty folder: loaded without the keys of the environment, and Python's
sockets reach no host but this one, unless `call`. checks.md says of each check why it
matters and what mends it; the checks are in files.py and answers.py.
"""

import os

from check_model.answers import CheckError
from check_model.check import Result, check_model, read_checks

__all__ = ["CheckError", "Result", "check_model", "read_checks"]

# MLflow reads them when it is imported: no report of usage, no bar for local files.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
