"""A recipe copied out: in a new environment from its own requirements, nothing of ours near."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.new import new
from shared.recipes import ROOT

UV = Path(sys.executable).parent / "uv"


def alone(words, folder, **more):
    """Run words there, with nothing of this checkout and its environment to be found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE", "MLFLOW", "PYTEST"))
    }
    here = os.pathsep.join(
        place for place in kept["PATH"].split(os.pathsep) if not place.startswith(str(ROOT))
    )
    return subprocess.run(
        words,
        cwd=folder,
        env={**kept, "PATH": here, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.verify("copied out")
def test_starter_stands_alone(recipe, tmp_path):
    """Installed by plain pip for the 101; by uv, which is quicker, for the others."""
    to = new(recipe, tmp_path / "tank volume" / "tank_volume")
    words = ["make", f"PYTHON={sys._base_executable}"]
    if recipe.name != "circle_area":
        words.append(f"INSTALL={UV} pip install -q --python .venv/bin/python")
    verbs = ["test", "log"] + ["smoke"] * (recipe.name == "circle_area")  # `test` smokes already
    for verb in verbs:
        done = alone([*words, verb], to)
        assert done.returncode == 0, done.stdout
        expected = {"test": "1 passed", "log": "model   models:/m-", "smoke": "the known answer"}
        assert expected[verb] in done.stdout
    assert (to / ".mlflow/mlflow.db").is_file()
    imported = "import shared, sys; print(shared.__file__, *sys.path, sep='\\n')"
    found = alone([".venv/bin/python", "-c", imported], to).stdout
    assert str(to / "shared") in found and str(ROOT) not in found


@pytest.mark.verify("copied by hand", recipe="circle_area")
def test_what_the_readme_says(fresh_checkout):
    """The commands of README.md, "By hand", as printed there and in the guide."""
    checkout = fresh_checkout("by hand")
    block = re.search(r"By hand:\n\n```bash\n(.*?)```", (checkout / "README.md").read_text(), re.S)
    assert block[1] in (checkout / "docs/guides/copy-a-recipe.md").read_text()
    python = Path(sys._base_executable).parent
    path = f"{python}{os.pathsep}{os.environ['PATH']}"
    done = alone(["bash", "-ec", block[1]], checkout, PATH=path)
    assert done.returncode == 0, done.stdout
    assert "result  a circle of diameter 2" in done.stdout and "the known answer" in done.stdout
    assert (checkout.parent / "my_model/.mlflow/mlflow.db").is_file()
