"""Import what several drivers use, once: they are forked from this process.

Half of each driver's time would go into it. Run by hand, a driver imports for itself.
"""
# ruff: noqa: E402, F401

import gc

import shared.run  # turns the search for garbage off

import matplotlib.backends.backend_agg
import matplotlib.figure
import mlflow.data.pandas_dataset
import mlflow.pyfunc.scoring_server
import mlflow.store.model_registry.sqlalchemy_store
import openai
import scipy.stats
import sklearn.linear_model
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

# It keeps the list of all installed packages, which log_model reads.
warn_dependency_requirement_mismatches(["mlflow"])
gc.freeze()  # the imported modules stay
