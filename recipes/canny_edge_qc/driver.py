"""Log canny_edge_qc, calibrated on good parts alone, and inspect parts that it has never seen.

python recipes/canny_edge_qc/driver.py
"""

import base64
import json
from pathlib import Path

from shared.run import recipe_run, report

import cv2
import mlflow
import numpy as np
import pandas as pd
from evaluation import edge_density, evaluate, largest_edge, show, summary
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import COLUMNS, calibrate, read_grey
from parts import Parts, make_parts

HERE = Path(__file__).parent
DESCRIPTION = """
**Pass or fail photographs of a surface** by the largest edge in them, compared with good parts.

The model is the file `model_code.py`; what it has to know about the surface is *calibration.json*.
`false alarms` is the share of good parts that fail, `found` that of bad ones, `AUROC` the chance
that a bad part scores higher than a good one: all on parts that took no part in the calibration.
`edge density` is the textbook rule on the same parts. Without bad parts nothing bounds the misses.
*inspection.png* shows where the edges are.
"""
KINDS = dict.fromkeys(COLUMNS, DataType.long) | {
    "verdict": DataType.string,  # pass, fail
    "defect_score": DataType.double,  # in parts of the limit
    "reason": DataType.string,
}
# Encoded files, not pixels: over REST a `binary` column is base64 text, 50 times less to parse.
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(kind, name) for name, kind in KINDS.items()]),
)


def pictures(folder: Path) -> list[np.ndarray]:
    """Return the pictures in a folder in the order of their names; ValueError names a bad file."""
    found = []
    for file in sorted(folder.glob("*.*")):
        try:
            found.append(read_grey(file.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from None
    return found


def main() -> None:
    cv2.setNumThreads(1)  # on pictures of this size threads cost more than they bring
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    example["image"] = example["image"].map(base64.b64decode)
    if own := pictures(
        HERE / "good"
    ):  # your good parts, and your bad ones if you have any
        parts = Parts(own, [], [("bad", part) for part in pictures(HERE / "bad")])
    else:
        parts = make_parts(seed=0, golden=60, good=40, bad=10)
    with recipe_run(__file__, DESCRIPTION):
        mlflow.log_dict(calibrate(parts.golden), "calibration.json")
        model = mlflow.pyfunc.log_model(
            name="canny_edge_qc",
            python_model=HERE / "model_code.py",
            artifacts={"calibration": mlflow.get_artifact_uri("calibration.json")},
            signature=SIGNATURE,
            input_example=example.head(1),
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="canny_edge_qc",
        )
        answer = mlflow.pyfunc.load_model(model.model_uri).predict(example)
        scored = evaluate(parts, largest_edge)
        dataset = from_pandas(scored, name="your parts" if own else "drawn parts")
        mlflow.log_input(dataset, context="evaluation")
        numbers = summary(scored)
        if not own:
            textbook = summary(evaluate(parts, edge_density))
            numbers |= {
                f"edge density: {name}": value for name, value in textbook.items()
            }
        mlflow.log_params(
            {"good parts": len(parts.golden), "parts scored": len(scored)}
        )
        mlflow.log_metrics(numbers, model_id=model.model_id, dataset=dataset)
        greys = {
            str(name): read_grey(image) for name, image in example["image"].items()
        }
        mlflow.log_figure(show(greys, answer, scored), "inspection.png")
    said = f"{numbers['false alarms']:.0%} false alarms on {len(parts.good or own)} unseen good parts"
    if parts.bad:
        said += (
            f", {numbers['found']:.0%} of bad parts found, AUROC {numbers['AUROC']:.2f}"
        )
    else:
        said += "; no bad parts shown: nothing bounds the misses"
    report(model, headline=said, prediction=answer.round(3))


if __name__ == "__main__":
    main()
