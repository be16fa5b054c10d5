"""Pass or fail grey photographs of a surface by their edges, compared with those of good parts."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from golden_edges.rules import (
    FEATURES,
    calibrate,
    check_calibration,
    density,
    excess,
    features,
    score,
    textbook_edges,
)
from golden_edges.surface import read_grey, upright
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

RULES = ("golden", "density")
BOX = ("x", "y", "width", "height")
COLUMNS = {  # of the answer
    "verdict": DataType.string,  # pass, fail
    "defect_score": DataType.double,  # in parts of the limit
    "edge_density": DataType.double,  # 0 to 1
    **dict.fromkeys(BOX, DataType.long),
    "reason": DataType.string,
    "overlay": DataType.string,
}
ORANGE, BLUE = (0, 159, 230), (178, 114, 0)  # BGR; told apart by colour-blind eyes too
# Encoded files, not pixels: over REST a `binary` column is base64 text, 50 times less to parse.
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(kind, name, name != "overlay") for name, kind in COLUMNS.items()]),
    params=ParamSchema(
        [ParamSpec("rule", "string", "golden"), ParamSpec("overlay", "boolean", False)]
    ),
)
__all__ = ["SIGNATURE", "EdgeInspection", "calibrate", "inspect", "overlay"]


def inspect(grey: np.ndarray, known: dict[str, Any], rule: str = "golden") -> dict[str, Any]:
    """Return one part's verdict and measures; `edges` is the map that they were taken from.

    `defect_score` is in parts of the limit: above 1 the part fails. The box (px) is that of the
    largest or sharpest edge, whichever stands out most; rule density boxes failing parts only.
    """
    if rule == "density":
        edges = textbook_edges(grey)
        share = density(edges)
        points = share / known["density_limit"]
        box = largest_edge(edges) if points > 1 else (0, 0, 0, 0)
        reason = "edge density"
    else:
        picture, quarters = upright(grey, known["angle"])
        values, boxes, maps = features(picture, known)
        beyond = excess(values, np.array(known["usual"]), np.array(known["high"]))
        points = float(score(beyond)) / known["limit"]
        reason = FEATURES[int(beyond.argmax())]
        worst = int(beyond[: len(boxes)].argmax())  # of the features that belong to an edge
        box, edges = boxes[worst], maps[worst * len(maps) // len(boxes)]
        share = density(maps[0])
        edges = np.rot90(edges, -quarters)  # back into the picture as it came
        for turn in range(quarters, 0, -1):
            x, y, width, height = box
            box = (grey.shape[turn % 2] - y - height, x, height, width)
    return {
        "verdict": "fail" if points > 1 else "pass",
        "defect_score": points,
        "edge_density": share,
        **dict(zip(BOX, box, strict=True)),
        "reason": reason,
        "edges": edges,
    }


def largest_edge(edges: np.ndarray) -> tuple[int, ...]:
    """Return x, y, width, height (px) of the connected edge with most pixels."""
    stats = cv2.connectedComponentsWithStats(edges, connectivity=8)[2][1:]
    return tuple(stats[stats[:, cv2.CC_STAT_AREA].argmax(), :4].tolist())


def overlay(grey: np.ndarray, found: dict[str, Any]) -> np.ndarray:
    """Return the picture, uint8 (height, width, 3) BGR, edges in orange and the box in blue."""
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    edges = cv2.resize(
        np.ascontiguousarray(found["edges"]), grey.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    picture[edges > 0] = ORANGE
    if found["width"]:
        corner = found["x"], found["y"]
        other = found["x"] + found["width"] - 1, found["y"] + found["height"] - 1
        cv2.rectangle(picture, corner, other, BLUE, 2)
    return picture


class EdgeInspection(mlflow.pyfunc.PythonModel):
    """Take one column, `image` (files as bytes or base64 text); answer one row per image."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Read the calibration that was logged with the model; ValueError if it isn't whole."""
        text = Path(context.artifacts["calibration"]).read_text(encoding="utf-8")
        self.known = check_calibration(json.loads(text))

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return a row per image under the input's index; MlflowException (HTTP 400) if one is bad.

        Params: `rule` (golden or density), `overlay` (true: a PNG as base64 text, else None).
        """
        asked = {"rule": "golden", "overlay": False} | (params or {})
        rows = []
        try:
            if asked["rule"] not in RULES:
                raise ValueError(f"param 'rule': {asked['rule']!r}; give one of {', '.join(RULES)}")
            if "image" not in model_input:
                raise ValueError("give one column, 'image'")
            for row, data in model_input["image"].items():
                try:
                    grey = read_grey(data)
                except ValueError as error:
                    raise ValueError(f"column 'image', row {row!r}: {error}") from None
                found = inspect(grey, self.known, asked["rule"])
                picture = None
                if asked["overlay"]:
                    png = cv2.imencode(".png", overlay(grey, found))[1].tobytes()
                    picture = base64.b64encode(png).decode("ascii")
                del found["edges"]
                rows.append({**found, "overlay": picture})
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(rows, model_input.index, list(COLUMNS))


mlflow.models.set_model(EdgeInspection())
