"""A recipe copied out, in an environment of its own."""

import os
import sys
from pathlib import Path

from shared.new import write_starter
from shared.recipes import ROOT

import pytest

from tests.conftest import blocks, own_variables, run_lines

pytestmark = pytest.mark.verify


def run_outside(command: str, folder: Path) -> str:
    """Run lines with nothing of this checkout in reach; return the output.

    First on the PATH is the Python that made its environment.
    """
    places = [f"{sys.base_prefix}/bin", *os.environ["PATH"].split(os.pathsep)]
    path = os.pathsep.join(place for place in places if not place.startswith(str(ROOT)))
    return run_lines(command, folder, {**own_variables(), "PATH": path})


def test_starter_stands_alone(recipe, tmp_path):
    starter = write_starter(recipe, tmp_path / "tank volume" / "tank_volume")
    assert "1 passed" in run_outside("make test", starter)
    imported = "import shared, sys; print(shared.__file__, *sys.path, sep='\\n')"
    places = run_outside(f'.venv/bin/python -c "{imported}"', starter)
    assert str(starter / "shared") in places and str(ROOT) not in places


def test_the_guides_commands(fresh_checkout):
    checkout = fresh_checkout("copied out")
    make = 'make() { command make -o .venv/.recipes "$@"; }'
    lines, _, _ = blocks("copy-a-recipe", "bash")[0].partition("make serve")
    printed = run_outside(f"{make}\n{lines}", checkout)
    assert "1 passed" in printed and "gives the known answer" in printed
    assert (checkout.parent / "tank_volume/.mlflow/mlflow.db").is_file()


def test_by_hand(fresh_checkout):
    """The commands of the guide, "By hand", as printed there."""
    checkout = fresh_checkout("by hand")
    printed = run_outside(blocks("copy-a-recipe", "bash")[1], checkout)
    assert "346.360590" in printed and "gives the known answer" in printed
    assert (checkout.parent / "my_model/.mlflow/mlflow.db").is_file()
