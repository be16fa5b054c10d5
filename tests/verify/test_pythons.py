"""A model from code loads in every Python; a pickled one in that which pickled it."""

import json
import subprocess
import sys

from shared.recipes import ROOT

import pytest

from benchmarks.report import RESULTS


@pytest.mark.verify
def test_code_against_pickle():
    subprocess.run([sys.executable, "-m", "benchmarks.pythons"], cwd=ROOT, check=True)
    tables = json.loads((RESULTS / "pythons.json").read_text())["tables"]
    (rows,) = tables.values()
    here = ".".join(map(str, sys.version_info[:2]))
    for row in rows:
        assert row["model from code"] in ("works", "absent here"), row
        if row["Python"] == here:
            assert row["pickled"] == "works", "or the comparison proves nothing"
