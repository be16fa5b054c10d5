"""pc_causal_discovery: known graphs, causal-learn as the oracle, what is refused, quality floors."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from shared.recipes import find

RECIPE = find("pc_causal_discovery")
sys.path.insert(0, str(RECIPE.path))  # where model_code.py finds its package, as in `code_paths`

from recipes.pc_causal_discovery import evaluation, model_code, networks  # noqa: E402
