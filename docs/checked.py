"""Run check-model for its page, on three models.

python -m docs.checked  writes build/checked/*.txt and checks.md
"""

import logging
import tempfile
import warnings
from pathlib import Path

from shared.check import check_model, report, table
from shared.recipes import ROOT, find

import cloudpickle
import mlflow
import pandas as pd

from benchmarks.report import markdown
from docs.pitfalls import read
from recipes.circle_area import model_code
from recipes.circle_area.driver import SIGNATURE

OUT = ROOT / "build" / "checked"
CIRCLE = find("circle_area").path


def three_models(folder: Path) -> dict[str, Path]:
    """Save an untyped model, and circle_area as an object and from code."""
    untyped = folder / "untyped.py"
    untyped.write_text(read("untyped_list").ways["wrong"]["model_code.py"])
    requirements = str(CIRCLE / "requirements.txt")
    given = {"pip_requirements": requirements, "signature": SIGNATURE}
    given["input_example"] = pd.DataFrame({"diameter": [1.5, 4.0, 2.5]})
    cloudpickle.register_pickle_by_value(model_code)
    models = {
        "untyped": {"python_model": untyped, "input_example": [1.0, 2.0]},
        "object": {**given, "python_model": model_code.CircleArea()},
        "circle_area": {**given, "python_model": CIRCLE / "model_code.py"},
    }
    for name, arguments in models.items():
        arguments = {"pip_requirements": requirements, **arguments}
        mlflow.pyfunc.save_model(folder / name, **arguments)
    return {name: folder / name for name in models}


def checks() -> str:
    """Return the table of the checks, pitfalls as links."""
    rows = []
    for name, (level, looks_for, why, mend, pitfalls) in table().items():
        links = [f"[{p}](../pitfalls.md#{p})" for p in pitfalls.split()]
        check = "<br>".join([f"`{name}`", level, *links])
        cells = {"Check": check, "It looks for": looks_for}
        rows.append({**cells, "Why it matters": why, "What mends it": mend})
    return markdown(rows)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # MLflow's, on models that are wrong on purpose
    with tempfile.TemporaryDirectory() as place:
        for name, model in three_models(Path(place)).items():
            (OUT / f"{name}.txt").write_text(report(name, check_model(str(model))))
    (OUT / "checks.md").write_text(checks())


if __name__ == "__main__":
    main()
