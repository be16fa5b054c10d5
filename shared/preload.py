"""Imported for its effect, once, by the process that `make log-all` forks its drivers from.

What at least two drivers import; half of each one's time would go into it. Run by hand, a driver
does it itself.
"""
# ruff: noqa: E402, F401

import gc

gc.disable()  # there is nothing to collect yet: looking takes a fifth of the time
import shared.run

import matplotlib.backends.backend_agg
import matplotlib.figure
import mlflow.data.pandas_dataset
import mlflow.pyfunc.scoring_server
import mlflow.store.model_registry.sqlalchemy_store
import openai
import scipy.stats
import sklearn.linear_model
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

warn_dependency_requirement_mismatches(
    ["mlflow"]
)  # reads the list of all installed packages
gc.freeze()  # nor will a driver look through these
gc.enable()
