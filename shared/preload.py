"""What the drivers have in common, imported once by the process that `make log-all` forks.

Half of a driver's time would go into this. It is a start-up matter only: run by hand, a driver
imports the same modules itself.
"""

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import mlflow.pyfunc
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

# log_model compares each requirement with what is installed, and for that reads the file list of
# every package once per process.
warn_dependency_requirement_mismatches(["mlflow"])
