"""Log label_reader with the weights of its network, and read labels it has never seen.

python recipes/label_reader/driver.py
"""

import hashlib
import json
from pathlib import Path

from shared.run import recipe_run, report

import cv2
import mlflow
import pandas as pd
from evaluation import draw, read_all, summary
from labels import REPORTING, make_labels, own_labels
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import BAR, PATTERN, read_picture
from weights import recognition_weights

HERE = Path(__file__).parent
NAME = "label_reader"
DESCRIPTION = """
**Read the code on a printed label**, or answer "unread".

The model is the file `model_code.py`; the network's weights, their licence and their
notice are files beside it (PP-OCRv6 recognition, Apache-2.0). `read right` is the share
of labels whose code is read exactly, `read wrong` the share of wrong ones among the
codes that are given, `read wrong upper limit` the upper end of its 95 % interval.
*labels.png* shows
what is cut out of each picture.
"""
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "code"),
            ColSpec(DataType.double, "confidence"),
            ColSpec(DataType.string, "reason"),
        ]
    ),
)


def main() -> None:
    cv2.setNumThreads(1)  # on small pictures threads cost more than they bring
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    pictures = {row: read_picture(file) for row, file in example["image"].items()}
    weights = recognition_weights()
    photographed = own_labels(HERE)
    labels = photographed or make_labels(seed=0, number=144, fonts=REPORTING)
    with recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            artifacts=weights,
            model_config={"threads": 1},
            signature=SIGNATURE,
            input_example=example.head(1),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        loaded = mlflow.pyfunc.load_model(model.model_uri)
        answer = loaded.predict(example)
        table = read_all(loaded.unwrap_python_model(), labels)
        numbers = summary(table)
        name = "your labels" if photographed else "drawn labels"
        dataset = from_pandas(table, name=name)
        mlflow.log_input(dataset, context="evaluation")
        digest = hashlib.sha256(Path(weights["weights"]).read_bytes()).hexdigest()
        params = {"pattern": PATTERN.pattern, "bar": BAR, "weights sha256": digest}
        mlflow.log_params(params)
        mlflow.log_metrics(numbers, model_id=model.model_id, dataset=dataset)
        mlflow.log_figure(draw(pictures, answer), "labels.png")
        mlflow.register_model(model.model_uri, NAME)
    headline = (
        f"{name}: {numbers['read right']:.0%} of {len(labels)} read right, "
        f"{numbers['read wrong']:.1%} of the codes given are wrong "
        f"(95 % interval up to {numbers['read wrong upper limit']:.1%})"
    )
    report(model, headline, prediction=answer.round(2))


if __name__ == "__main__":
    main()
