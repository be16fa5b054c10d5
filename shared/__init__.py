"""Plumbing of the cookbook that no reader came to learn; see the modules.

Import it before mlflow, which reads these variables while it is imported.
"""

import os

# Ask no host: usage reports are off.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A uv.lock in the working directory would replace the model's own requirements.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
# No progress bar for a handful of local files.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
