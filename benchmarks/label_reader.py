"""label_reader: what it reads beside template matching, what it costs, what MLflow
copies.

python -m benchmarks.label_reader [quality] [costs]

The bar of confidence was chosen on drawn labels in four fonts. The numbers reported are
of labels in six other fonts, which had no part in any choice.
"""

import base64
import io
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.recipes import find

import cv2
import mlflow
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import beta
from skimage import data

from benchmarks.report import Rows, publish, resident_mb, served

RECIPE = find("label_reader")
sys.path.insert(0, str(RECIPE.path))  # where its files find each other

import labels as drawing  # noqa: E402
import model_code  # noqa: E402
from labels import Label, make_labels  # noqa: E402
from weights import recognition_weights  # noqa: E402

Readings = list[tuple[str, float]]  # a text and its confidence, for each label
WEIGHTS = recognition_weights()
NUMBER = 2400  # labels for the model
RIVALS = 600  # labels for what it is compared with
MOST_WRONG = 0.005  # of the codes given, in each of the fonts for choosing


def session_reader(threads: int = 1) -> model_code.LabelReader:
    context = SimpleNamespace(artifacts=WEIGHTS, model_config={"threads": threads})
    reader = model_code.LabelReader()
    reader.load_context(context)
    return reader


# What is read.


def read_by_network(labels: list[Label], cut: bool = True) -> Readings:
    """Return what the network reads in each label, or in the whole picture."""
    reader = session_reader()
    readings = []
    for start in range(0, len(labels), model_code.AT_ONCE):
        pictures = [label.picture for label in labels[start:][: model_code.AT_ONCE]]
        boxes = [model_code.find_line(picture) for picture in pictures]
        lines = list(map(model_code.cut_line, pictures, boxes)) if cut else pictures
        batch = np.stack([model_code.prepare(line) for line in lines])
        read = reader.session.run(None, {"x": batch})[0]
        for picture, box, steps in zip(pictures, boxes, read, strict=True):
            text, confidence = model_code.decode(steps, reader.alphabet)
            inside = not cut or model_code.is_inside(box, picture)
            readings.append((text, confidence if inside else -1.0))
    return readings


def ink_of(line: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(cv2.resize(line, None, fx=2, fy=2), cv2.COLOR_RGB2GRAY)
    return cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)[1]


def characters_of(ink: np.ndarray) -> list[np.ndarray]:
    """Return the connected pieces of ink from left to right, each 36 px high."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink)
    pieces = sorted(piece[:4].tolist() for piece in stats[1:] if piece[4] > 30)
    characters = []
    for x, y, width, height in pieces:
        wide = min(60, max(1, round(width * 36 / height)))
        character = np.zeros((36, 64), np.uint8)
        left = (64 - wide) // 2
        piece = ink[y : y + height, x : x + width]
        character[:, left : left + wide] = cv2.resize(piece, (wide, 36))
        characters.append(character)
    return characters


def template_reader() -> Callable[[list[Label]], Readings]:
    """Return the baseline: OpenCV's template matching, character by character.

    It knows the pattern: which characters each of the ten places may hold.
    """
    templates: dict[str, list[np.ndarray]] = {}
    for font in drawing.CHOOSING:
        for character in drawing.LETTERS + drawing.DIGITS:
            paper = Image.new("L", (90, 90))
            typeface = drawing.load_font(font, 48)
            drawing.ImageDraw.Draw(paper).text((20, 10), character, 255, typeface)
            ink = cv2.threshold(np.asarray(paper), 127, 255, cv2.THRESH_BINARY)[1]
            templates.setdefault(character, []).append(characters_of(ink)[0])

    def match(piece: np.ndarray, allowed: list[str]) -> tuple[float, str]:
        scores = [
            (float(cv2.matchTemplate(piece, template, cv2.TM_CCOEFF_NORMED)[0, 0]), c)
            for c in allowed
            for template in templates[c]
        ]
        return max(scores)

    def read(label: Label) -> tuple[str, float]:
        line = model_code.cut_line(label.picture, model_code.find_line(label.picture))
        pieces = characters_of(ink_of(line))
        if len(pieces) != 10:
            return "", 0.0
        letters = [match(piece, drawing.LETTERS) for piece in pieces[:3]]
        digits = [match(piece, drawing.DIGITS) for piece in pieces[4:]]
        text = "".join(c for _, c in letters) + "-" + "".join(c for _, c in digits)
        return text, min(letters + digits)[0]

    return lambda labels: [read(label) for label in labels]


def table_of(labels: list[Label], readings: Readings) -> pd.DataFrame:
    """Return a row per label: text, confidence, and whether it is a code, and right."""
    table = pd.DataFrame(readings, columns=["text", "confidence"])
    for name in ("code", "font", "damage"):
        table[name] = [getattr(label, name) for label in labels]
    table["is_code"] = table["text"].map(
        lambda t: bool(model_code.PATTERN.fullmatch(t))
    )
    table["right"] = table["text"] == table["code"]
    return table


def wrong_share(table: pd.DataFrame, bar: float) -> float:
    given = table[table["is_code"] & (table["confidence"] >= bar)]
    return 1 - float(given["right"].mean()) if len(given) else 0.0


def choose_bar(table: pd.DataFrame) -> float:
    """Return the lowest bar with few wrong codes even in the worst of the fonts."""
    for bar in np.arange(0, 1, 0.05):
        shares = [wrong_share(rows, bar) for _, rows in table.groupby("font")]
        if max(shares) <= MOST_WRONG:
            return round(float(bar), 2)
    return 1.0


def rates(table: pd.DataFrame, bar: float) -> dict[str, Any]:
    given = table["is_code"] & (table["confidence"] >= bar)
    wrong = int((given & ~table["right"]).sum())
    number = int(given.sum())
    limit = float(beta.ppf(0.975, wrong + 1, number - wrong)) if number else 1.0
    return {
        "read right, %": 100 * float((given & table["right"]).mean()),
        "unread, %": 100 * float((~given).mean()),
        "wrong codes": wrong,
        "wrong of the codes given, %": 100 * wrong / max(number, 1),
        "95 % interval, at most %": 100 * limit,
    }


def character_share(table: pd.DataFrame) -> float:
    """Return the share of characters that are right, by place, in texts of 10."""
    right = [
        sum(a == b for a, b in zip(text.ljust(10), code, strict=False))
        for text, code in zip(table["text"], table["code"], strict=True)
    ]
    return sum(right) / (10 * len(table))


def told_apart(readings: Readings) -> Readings:
    return [(model_code.tell_look_alikes_apart(text), c) for text, c in readings]


def quality() -> dict[str, Rows]:
    choosing = make_labels(1, NUMBER, drawing.CHOOSING)
    reporting = make_labels(2, NUMBER, drawing.REPORTING)
    network = [read_by_network(part) for part in (choosing, reporting)]
    parts = [choosing[:RIVALS], reporting[:RIVALS]]
    whole = [read_by_network(part, cut=False) for part in parts]
    match = template_reader()
    readers = {
        "the model": [told_apart(readings) for readings in network],
        "O and 0, I and 1 not told apart": network,
        "whole picture, line not cut": [told_apart(readings) for readings in whole],
        "template matching": [match(part) for part in parts],
    }
    by_reader: Rows = []
    for name, (chosen_on, reported_on) in readers.items():
        number = len(reported_on)
        bar = choose_bar(table_of(choosing[:number], chosen_on))
        table = table_of(reporting[:number], reported_on)
        row: dict[str, Any] = {"reader": name, "labels": number, "bar": bar}
        row["exact at any confidence, %"] = 100 * float(table["right"].mean())
        row["characters right, %"] = 100 * character_share(table)
        by_reader.append(row | rates(table, bar))
    assert by_reader[0]["bar"] == model_code.BAR
    table = table_of(reporting, readers["the model"][1])
    chosen = table_of(choosing, readers["the model"][0])
    bars: Rows = [
        {"bar": bar} | rates(chosen, bar) for bar in (0.0, 0.5, 0.8, 0.9, 0.95)
    ]
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
        f"Bars on the {NUMBER:,} labels for choosing": bars,
        "Pictures without a whole code": no_codes(reporting),
    }


def windows(picture: np.ndarray) -> list[np.ndarray]:
    """Return overlapping pieces of a photograph of text, as colour pictures."""
    colour = np.dstack([picture] * 3)
    height, width = picture.shape
    return [
        colour[y : y + tall, x : x + wide]
        for tall, wide in ((30, 120), (24, 160), (60, 200))
        for y in range(0, height - tall, 10)
        for x in range(0, width - wide, 40)
    ]


def cut_off(labels: list[Label]) -> list[np.ndarray]:
    """Return labels whose last character lies partly outside the picture."""
    pictures = []
    for label in labels:
        (x, _), sides, _ = model_code.find_line(label.picture)
        edge = int(x + max(sides) / 2 - max(sides) / 20)
        pictures.append(label.picture[:, : max(edge, 40)])
    return pictures


def no_codes(labels: list[Label]) -> Rows:
    """Return how many pictures are given a code though they show no whole one."""
    undamaged = [label for label in labels if label.damage == "none"]
    sets = {
        "windows of a photographed page (skimage)": windows(data.page()),
        "windows of handwriting (skimage)": windows(data.text()),
        "labels cut through the last character": cut_off(undamaged),
    }
    reader = session_reader()
    rows: Rows = []
    for name, pictures in sets.items():
        answers = [reader.read([picture])[0][0] for picture in pictures]
        given = sum(answer != "unread" for answer in answers)
        rows.append({"pictures": name, "number": len(pictures), "given a code": given})
    return rows


# What it costs.


def jpeg(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def cpu_and_wall(run: Callable[[], object], rounds: int) -> tuple[float, float]:
    cpu, wall = [], []
    for _ in range(rounds):
        started = time.process_time(), time.perf_counter()
        run()
        cpu.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    return float(np.median(cpu)), float(np.median(wall))


def costs() -> dict[str, Rows]:
    labels = make_labels(3, 64, drawing.REPORTING)
    files = [jpeg(label.picture) for label in labels]
    before = resident_mb()
    reader = session_reader()
    made = {"step": "session made", "pictures a CPU second": "", "CPU ms a picture": ""}
    rows: Rows = [made | {"memory, MB": resident_mb() - before}]
    for number, rounds in ((1, 60), (64, 4), (64, 12)):
        frame = pd.DataFrame({"image": files[:number]})
        seconds, _ = cpu_and_wall(partial(reader.predict, None, frame), rounds)
        row: dict[str, Any] = {"step": f"{number} at once, {rounds} times"}
        row["pictures a CPU second"] = number / seconds
        row["CPU ms a picture"] = 1000 * seconds / number
        row["memory, MB"] = resident_mb() - before
        rows.append(row)
    return {"Pictures as base64 JPEG, one thread": rows, "Threads": threads(files)}


def threads(files: list[str]) -> Rows:
    """Return what two clients at once get from a session of one and of two threads."""
    frame = pd.DataFrame({"image": files[:8]})
    rows: Rows = []
    for number in (1, 2):
        reader = session_reader(number)
        for clients in (1, 2):
            frames = [frame] * clients
            with ThreadPoolExecutor(clients) as pool:
                ask = partial(ask_at_once, pool, reader, frames)
                ask()
                cpu, wall = cpu_and_wall(ask, 5)
            row = {"threads of the session": number, "clients at once": clients}
            speed = {"pictures a second": 8 * clients / wall}
            rows.append(row | speed | {"CPU ms a picture": 1000 * cpu / 8 / clients})
    return rows


def ask_at_once(pool: Any, reader: Any, frames: list[pd.DataFrame]) -> None:
    list(pool.map(partial(reader.predict, None), frames))


# What MLflow copies.


def written_mb() -> float:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"]) / 1e6


def copies(store: str, uri: str, folder: Path) -> Rows:
    """Return what each step writes from this process, and adds to the store."""
    rows: Rows = []

    def step(name: str, run: Callable[[], Any]) -> Any:
        written, stored = written_mb(), stored_mb(folder)
        result = run()
        row: dict[str, Any] = {"step": name}
        row[f"{store}: written, MB"] = round(written_mb() - written)
        row[f"{store}: kept, MB"] = round(stored_mb(folder) - stored)
        rows.append(row)
        return result

    def log(code: Path, **more: Any) -> Any:
        with mlflow.start_run():
            return mlflow.pyfunc.log_model(
                name="reader",
                python_model=code,
                pip_requirements=["mlflow"],
                **more,
            )

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("copies")
    code = RECIPE.path / "model_code.py"
    whole: dict[str, Any] = {"artifacts": {"weights": WEIGHTS["weights"]}}
    whole["model_config"] = {"threads": 1}
    model = step("log it", lambda: log(code, **whole))
    step("log it again, its code changed", lambda: log(code, **whole))
    step("register it", lambda: mlflow.register_model(model.model_uri, "reader"))
    step("load it", lambda: mlflow.pyfunc.load_model("models:/reader/1"))
    sharing = Path(tempfile.mkdtemp()) / "model_code.py"
    sharing.write_text(shared_weights(code.read_text("utf-8")), "utf-8")
    config = {"threads": 1, "weights": "models:/reader/1"}
    other = step(
        "log it, weights named in model_config",
        lambda: log(sharing, model_config=config),
    )
    step("load that", lambda: mlflow.pyfunc.load_model(other.model_uri))
    return rows


def stored_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.onnx")) / 1e6


def shared_weights(code: str) -> str:
    """Return the code with the weights of another model, as "Migrate a pickled object to code"
    shows."""
    own = 'context.artifacts["weights"],'
    assert code.count(own) == 1
    folder = 'mlflow.artifacts.download_artifacts(context.model_config["weights"])'
    return code.replace(own, f'{folder} + "/artifacts/PP-OCRv6_rec_small.onnx",')


def copied() -> Rows:
    with tempfile.TemporaryDirectory() as name:
        local, remote = Path(name) / "local", Path(name) / "server"
        local.mkdir()
        words = ["server", "--workers", "1", "--artifacts-destination", str(remote)]
        words += ["--backend-store-uri", f"sqlite:///{name}/server.db"]
        with served(words, "health") as address, chdir(local):
            on_files = copies("files", f"sqlite:///{name}/local.db", local)
            on_server = copies("server", f"http://{address}", remote)
    return [a | b for a, b in zip(on_files, on_server, strict=True)]


if __name__ == "__main__":
    cv2.setNumThreads(1)
    wanted = sys.argv[1:] or ["quality", "costs"]
    if "quality" in wanted:
        best = {"read right, %": "max", "exact at any confidence, %": "max"}
        publish("label_reader", quality(), best=best)
    if "costs" in wanted:
        tables = costs() | {"What MLflow copies of 21 MB": copied()}
        publish("label_reader_costs", tables)
