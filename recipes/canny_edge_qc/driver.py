"""Log canny_edge_qc, calibrated on good parts alone, and inspect parts that it has never seen.

python recipes/canny_edge_qc/driver.py
"""

from pathlib import Path

import cv2
import mlflow
import pandas as pd
from evaluation import show_scores, show_steps, steps
from golden_edges.rules import calibrate
from golden_edges.surface import read_grey
from model_code import SIGNATURE, inspect, overlay
from parts import DEFECTS, make_parts

from shared.run import recipe_run, report

HERE = Path(__file__).parent


def main() -> None:
    cv2.setNumThreads(1)  # on pictures of this size threads cost more than they bring
    parts = make_parts("ground", bad=10)
    bad = dict(reversed(parts.bad))
    samples = {"good": parts.good[0], **{defect: bad[defect] for defect in DEFECTS}}
    example = pd.DataFrame({"image": samples.values()}, index=list(samples))
    with recipe_run(__file__, __doc__) as run:
        known = calibrate(parts.golden)
        mlflow.log_dict(known, "calibration.json")
        model = mlflow.pyfunc.log_model(
            name="canny_edge_qc",
            python_model=HERE / "model_code.py",
            code_paths=[str(HERE / "golden_edges")],
            artifacts={"calibration": f"runs:/{run.info.run_id}/calibration.json"},
            signature=SIGNATURE,
            input_example=example.head(2),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        table, scores = steps(parts, known)
        whole = table.iloc[-1]
        mlflow.log_metrics({f"AUROC {n}": value for n, value in enumerate(table["AUROC"], 1)})
        mlflow.log_metrics({f"AUROC {defect}": whole[defect] for defect in DEFECTS})
        mlflow.log_metrics({"false alarms": whole["false alarms"], "found": whole["found"]})
        pair = samples["good"], samples["crack"]
        marked = [overlay(grey, inspect(grey, known)) for grey in map(read_grey, pair)]
        mlflow.log_table(table.reset_index(names="step"), "steps.json")
        mlflow.log_figure(show_steps(*pair, known, marked), "steps.png")
        mlflow.log_figure(show_scores(table, scores), "scores.png")
    prediction = mlflow.pyfunc.load_model(model.model_uri).predict(example)
    report(
        model,
        headline=f"AUROC {whole['AUROC']:.2f} on unseen ground parts, edge density alone "
        f"{table['AUROC'].iloc[0]:.2f}; false alarms {whole['false alarms']:.0%}",
        prediction=prediction.drop(columns="overlay").round(3),
    )


if __name__ == "__main__":
    main()
