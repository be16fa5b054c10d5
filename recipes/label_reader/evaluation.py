"""Count what the model reads right, reads wrong and leaves unread, and draw it."""

import math

import numpy as np
import pandas as pd
from labels import Label
from matplotlib.figure import Figure
from model_code import AT_ONCE, LabelReader, cut_line, find_line


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

    The limit is the upper end of Wilson's 95 % interval.
    """
    is_read = table["reason"] == "read"
    wrong = int((is_read & (table["answer"] != table["code"])).sum())
    number = max(int(is_read.sum()), 1)
    share = wrong / number
    return {
        "read right": float((table["answer"] == table["code"]).mean()),
        "read wrong": share,
        "read wrong upper limit": wilson_limit(share, number),
    }


def wilson_limit(share: float, number: int) -> float:
    """Return the upper end of the 95 % interval of a share of so many."""
    z = 1.96
    spread = math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return (share + z**2 / (2 * number) + z * spread) / (1 + z**2 / number)


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
