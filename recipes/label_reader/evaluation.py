"""Count what the model reads right, reads wrong and leaves unread, and draw it."""

import numpy as np
import pandas as pd
from labels import Label
from matplotlib.figure import Figure
from model_code import AT_ONCE, LabelReader, cut_line, find_line
from scipy.stats import beta


def read_all(reader: LabelReader, labels: list[Label]) -> pd.DataFrame:
    """Return a row per label: code, font, damage, answer, confidence, reason."""
    answers = []
    for start in range(0, len(labels), AT_ONCE):
        batch = labels[start : start + AT_ONCE]
        answers += reader.read([label.picture for label in batch])
    table = pd.DataFrame(answers, columns=["answer", "confidence", "reason"])
    for name in ("code", "font", "damage"):
        table[name] = [getattr(label, name) for label in labels]
    return table


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return the shares of labels read right, and of codes read wrong, with its limit.

    The limit is the upper end of the exact (Clopper-Pearson) 95 % interval.
    """
    is_read = table["reason"] == "read"
    wrong = int((is_read & (table["answer"] != table["code"])).sum())
    number = int(is_read.sum())
    limit = beta.ppf(0.975, wrong + 1, number - wrong) if number > wrong else 1.0
    return {
        "read right": float((table["answer"] == table["code"]).mean()),
        "read wrong": wrong / max(number, 1),
        "read wrong upper limit": float(limit),
    }


def draw(pictures: dict[str, np.ndarray], answer: pd.DataFrame) -> Figure:
    """Draw each picture with its answer, and below it the line that was cut out."""
    columns = 3
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(9, 2.1 * rows), layout="constrained")
    cells = figure.subfigures(rows, columns, squeeze=False).flat
    for cell, (name, picture) in zip(cells, pictures.items(), strict=False):
        result = answer.loc[name]
        title = f"{name}: {result['code']} ({result['confidence']:.2f})"
        cell.suptitle(title, fontsize=9)
        line = cut_line(picture, find_line(picture))
        for axis, shown in zip(cell.subplots(2, 1), (picture, line), strict=True):
            axis.imshow(shown)
            axis.axis("off")
    return figure
