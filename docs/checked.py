"""Run check-model for its page, on two models.

python -m docs.checked  writes build/checked/*.txt, checks.md and corpus.md
"""

import logging
import tempfile
import warnings
from pathlib import Path

from check_model import check_model, read_checks
from check_model.command import format_report
from shared.recipes import ROOT

import pandas as pd

from benchmarks import circle_area
from benchmarks.check_model import FAULTLESS, FAULTS
from benchmarks.report import markdown
from docs.pitfalls import read

OUT = ROOT / "build" / "checked"
# What tests/test_check_model.py holds.
CORPUS = (
    "Each of {} faults is found by the check meant for it, and by no other. "
    "Nothing is found in {} models without a fault.\n"
)


def save_models(folder: Path) -> list[Path]:
    """Save an untyped model, and circle_area."""
    untyped = folder / "untyped.py"
    untyped.write_text(read("untyped_list").ways["wrong"]["model_code.py"])
    without = {"python_model": untyped, "signature": None, "input_example": [1.0, 2.0]}
    circle_area.save(folder / "untyped", **without)
    rows = pd.DataFrame({"diameter": [1.5, 4.0, 2.5]})
    circle_area.save(folder / "circle_area", input_example=rows)
    return [folder / "untyped", folder / "circle_area"]


def checks() -> str:
    """Return the table of the checks, pitfalls as links."""
    rows = []
    for name, (level, looks_for, why, mend, pitfalls) in read_checks().items():
        links = [f"[{p}](../pitfalls.md#{p})" for p in pitfalls.split()]
        check = "<br>".join([f"`{name}`", level, *links])
        cells = {"Check": check, "It looks for": looks_for}
        rows.append({**cells, "Why it matters": why, "What mends it": mend})
    return markdown(rows)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # MLflow's, on a model that is wrong on purpose
    with tempfile.TemporaryDirectory() as place:
        for model in save_models(Path(place)):
            text = format_report(model.name, check_model(str(model)))
            (OUT / f"{model.name}.txt").write_text(text)
    (OUT / "checks.md").write_text(checks())
    (OUT / "corpus.md").write_text(CORPUS.format(len(FAULTS), len(FAULTLESS)))


if __name__ == "__main__":
    main()
