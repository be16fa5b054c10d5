"""Measure label_reader: how well it reads, and what it costs.

The bar of confidence was chosen on drawn labels in four fonts. The numbers reported are
of labels in six other fonts, which had no part in any choice.
"""

import base64
import sys
import time
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shared.recipes import find

import cv2
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.pictures import picture_file
from benchmarks.report import Rows, interleave, publish, resident_mb, spread

sys.path.insert(0, str(find("label_reader").path))  # where its files find each other

import labels as drawing  # noqa: E402
import model_code  # noqa: E402
from evaluation import read_all  # noqa: E402
from labels import Label, make_labels  # noqa: E402
from weights import recognition_weights  # noqa: E402

NUMBER = 2400  # labels for the model
FEW = 600  # labels for the model with a step left out
MOST_WRONG = 0.005  # of the codes given, in each of the fonts for choosing
STEPS: dict[str, dict[str, Any]] = {  # what stands in place of a step
    "the model": {},
    "O and 0, I and 1 not told apart": {"tell_look_alikes_apart": lambda text: text},
    "whole picture, line not cut": {
        "cut_line": lambda picture, box: picture,
        "is_inside": lambda box, picture: True,
    },
}


def session_reader() -> model_code.LabelReader:
    artifacts = recognition_weights()
    context = SimpleNamespace(artifacts=artifacts, model_config={"threads": 1})
    reader = model_code.LabelReader()
    reader.load_context(context)
    return reader


def unjudged(text: str, confidence: float, inside: bool) -> tuple[str, float, str]:
    """Stand in for the model's `judge`: leave each code as it was read."""
    return model_code.tell_look_alikes_apart(text), confidence if inside else -1.0, ""


def read(labels: list[Label], steps: dict[str, Any]) -> pd.DataFrame:
    """Return a row per label: answer, confidence, whether it is a code, and right."""
    with patch.multiple(model_code, judge=unjudged, **steps):
        table = read_all(session_reader(), labels)
    table["is_code"] = table["answer"].str.fullmatch(model_code.PATTERN.pattern)
    table["right"] = table["answer"] == table["code"]
    return table


def choose_bar(table: pd.DataFrame) -> float:
    """Return the lowest bar with few wrong codes even in the worst of the fonts."""
    for bar in np.arange(0, 1, 0.05):
        given = table[table["is_code"] & (table["confidence"] >= bar)]
        if given.groupby("font")["right"].mean().min() >= 1 - MOST_WRONG:
            return round(float(bar), 2)
    return 1.0


def rates(table: pd.DataFrame, bar: float) -> dict[str, Any]:
    given = table["is_code"] & (table["confidence"] >= bar)
    wrong = int((given & ~table["right"]).sum())
    number = int(given.sum())
    limit = binomtest(wrong, number).proportion_ci().high if number else 1.0
    return {
        "read right, %": 100 * float((given & table["right"]).mean()),
        "unread, %": 100 * float((~given).mean()),
        "wrong codes": wrong,
        "wrong of the codes given, %": 100 * wrong / max(number, 1),
        "95 % interval, at most %": 100 * limit,
    }


def quality() -> dict[str, Rows]:
    choosing = make_labels(1, NUMBER, drawing.CHOOSING)
    reporting = make_labels(2, NUMBER, drawing.REPORTING)
    by_reader: Rows = []
    tables: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    for name, steps in STEPS.items():
        number = FEW if steps else NUMBER
        chosen, table = (read(part[:number], steps) for part in (choosing, reporting))
        tables[name] = chosen, table
        row: dict[str, Any] = {"reader": name, "labels": number}
        row["bar"] = bar = choose_bar(chosen)
        row["exact at any confidence, %"] = 100 * float(table["right"].mean())
        by_reader.append(row | rates(table, bar))
    assert by_reader[0]["bar"] == model_code.BAR
    chosen, table = tables["the model"]
    return {
        "Labels for reporting": by_reader,
        "The model, by what happened to the label": [
            {"damage": name, **rates(table[table["damage"] == name], model_code.BAR)}
            for name in drawing.DAMAGES
        ],
        "The model, by font": [
            {"font": name, **rates(table[table["font"] == name], model_code.BAR)}
            for name in drawing.REPORTING
        ],
        f"Bars on the {NUMBER:,} labels for choosing": [
            {"bar": bar, **rates(chosen, bar)} for bar in (0.0, 0.5, 0.8, 0.9, 0.95)
        ],
        "Pictures without a whole code": cut_through(reporting),
    }


def cut_through(labels: list[Label]) -> Rows:
    """Return how many labels are given a code though their last character is cut."""
    reader = session_reader()
    undamaged = [label.picture for label in labels if label.damage == "none"]
    given = 0
    for picture in undamaged:
        (x, _), sides, _ = model_code.find_line(picture)
        edge = int(x + max(sides) / 2 - max(sides) / 20)
        ((answer, _, _),) = reader.read([picture[:, : max(edge, 40)]])
        given += answer != "unread"
    name = "labels cut through the last character"
    return [{"pictures": name, "number": len(undamaged), "given a code": given}]


def jpeg(picture: np.ndarray) -> str:
    file = picture_file(picture, "JPEG", quality=90)
    return base64.b64encode(file).decode()


def costs(files: pd.DataFrame) -> Rows:
    before = resident_mb()
    reader = session_reader()
    made = dict.fromkeys(
        ["pictures a CPU second", "CPU ms a picture", "least to most"], ""
    )
    memory = {"memory, MB": resident_mb() - before}
    rows: Rows = [{"step": "session made"} | made | memory]
    for number, rounds in ((1, 60), (64, 4), (64, 12)):
        ways = {"predict": partial(reader.predict, None, files.head(number))}
        ms = 1000 / number * interleave(ways, rounds, time.process_time)["predict"]
        rows.append(
            {
                "step": f"{number} at once, {rounds} times",
                "pictures a CPU second": 1000 / ms.median(),
                "CPU ms a picture": ms.median(),
                "least to most": spread(ms),
                "memory, MB": resident_mb() - before,
            }
        )
    return rows


if __name__ == "__main__":
    cv2.setNumThreads(1)
    drawn = make_labels(3, 64, drawing.REPORTING)
    files = pd.DataFrame({"image": [jpeg(label.picture) for label in drawn]})
    # The costs come first: what this process reads later stays in its memory.
    publish("label_reader_costs", {"Pictures as base64 JPEG, one thread": costs(files)})
    best = {"read right, %": "max", "exact at any confidence, %": "max"}
    publish("label_reader", quality(), best=best)
