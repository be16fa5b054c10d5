"""Imported for its effect, once, by the process that `make log-all` forks its drivers from.

It is what half of each driver's time would go into; run by hand, a driver does it itself.
"""

import matplotlib.backends.backend_agg
import matplotlib.figure
import mlflow.data.pandas_dataset
import mlflow.pyfunc.scoring_server
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

import shared.run  # noqa: F401

warn_dependency_requirement_mismatches(["mlflow"])  # reads the list of all installed packages
