"""label_reader: what it reads, what it leaves unread, what is refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.pictures import picture_file
from tests.conftest import siblings

evaluation, drawing, model_code, weights = siblings(
    "label_reader", "evaluation", "labels", "model_code", "weights"
)
find_line = model_code.find_line

WEIGHTS = weights.recognition_weights()
PAPER = np.full((60, 240, 3), 220, np.uint8)


def load(threads: int = 1, path: str = WEIGHTS["weights"]):
    """Return the model, loaded; `make smoke` sends requests to a logged one."""
    model = model_code.LabelReader()
    context = SimpleNamespace(
        artifacts={"weights": path}, model_config={"threads": threads}
    )
    model.load_context(context)
    return model


READER = load()


@pytest.fixture(scope="module")
def labels():
    return drawing.make_labels(5, 60, drawing.CHOOSING)


def draw(text: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return drawing.photograph(drawing.draw_ink(text, "Aileron", rng), "none", rng)


def test_reads_unseen_labels(labels):
    """Floors with room for chance; the page's numbers are of 2,400 labels."""
    numbers = evaluation.summary(evaluation.read_all(READER, labels))
    assert numbers["read right"] >= 0.8
    assert numbers["read wrong"] <= 0.02


def test_counts_of_right_and_wrong():
    rows = [("A", "A", "read"), ("B", "A", "read"), ("unread", "A", "no code")]
    table = pd.DataFrame(rows, columns=["answer", "code", "reason"])
    numbers = evaluation.summary(table)
    assert numbers["read right"] == pytest.approx(1 / 3)
    assert numbers["read wrong"] == 0.5
    assert numbers["read wrong upper limit"] == pytest.approx(0.905, abs=1e-3)


@pytest.mark.parametrize("right, inside", [(197, False), (190, True)])
def test_a_line_at_the_edge_may_be_cut_off(right, inside):
    picture = np.zeros((60, 200, 3), np.uint8)
    box = ((right - 70, 30), (140, 40), 0.0)  # 2 px are a twentieth of its height
    assert model_code.is_inside(box, picture) == inside


@pytest.mark.parametrize("tilt", [-10, 10])
def test_the_line_is_found_and_turned_level(tilt):
    ink = np.zeros((120, 300, 3), np.uint8)
    ink[50:70, 60:240:6] = 255  # strokes from 60 to 237
    turned = Image.fromarray(255 - ink).rotate(tilt, fillcolor=(255, 255, 255))
    picture = np.asarray(turned)
    line = model_code.cut_line(picture, find_line(picture))
    assert line.shape[1] == pytest.approx(190, abs=14)
    dark_rows = (line.min(axis=(1, 2)) < 200).sum()
    assert dark_rows == pytest.approx(21, abs=2)  # as long as the strokes


def test_prepared_lines_are_padded_to_one_width():
    short = model_code.prepare(np.full((24, 40, 3), (255, 0, 0), np.uint8))
    assert short.shape == (3, 48, 320) and short.dtype == np.float32
    assert (short[:, 0, 0] == [-1, -1, 1]).all()  # blue first
    assert (short[:, :, 80:] == 0).all() and (short[:, :, 79] != 0).all()
    assert (model_code.prepare(np.zeros((10, 900, 3), np.uint8)) == -1).all()


def test_ctc_decoding_drops_repetitions_and_blanks():
    steps = np.full((7, 3), 0.01, np.float32)
    for step, best in enumerate([1, 1, 0, 1, 2, 2, 0]):
        steps[step, best] = 0.9
    steps[3, 1] = 0.6
    assert model_code.decode(steps, ["", "a", "b"]) == ("aab", pytest.approx(0.6))
    blank = np.tile(np.float32([1, 0, 0]), (7, 1))
    assert model_code.decode(blank, ["", "a", "b"]) == ("", 1.0)


def test_a_code_or_unread():
    judge = model_code.judge
    assert judge("ABC-123456", 0.95, True) == ("ABC-123456", 0.95, "read")
    assert judge("A0I-O2345I", 0.99, True) == ("AOI-023451", 0.99, "read")
    assert judge("ABC-123456", 0.94, True) == ("unread", 0.94, "low confidence")
    assert judge("ABC-123456", 0.99, False) == ("unread", 0.99, "at the border")
    for text in ("ABC-12345", "ABC-1234567", "ABC-12345٦"):
        assert judge(text, 0.99, True) == ("unread", 0.99, "no code")


def test_nothing_but_a_whole_code_is_read():
    (x, _), sides, _ = find_line(draw("ABC-123456"))
    cut = int(x + max(sides) / 2 - 6)
    pictures = [PAPER, draw("BEST BEFORE 2027"), draw("ABC-123456")[:, :cut]]
    answers = READER.read(pictures)
    assert [code for code, _, _ in answers] == ["unread"] * 3
    assert [reason for _, _, reason in answers][2] == "at the border"


def test_an_answer_is_the_same_in_any_company(labels):
    labels = labels[:17]  # one more than are read at once
    codes = [label.code for label in labels]
    files = [picture_file(label.picture) for label in labels]
    together = READER.predict(None, pd.DataFrame({"image": files}, index=codes))
    assert together.index.tolist() == codes
    alone = [READER.read([label.picture])[0] for label in labels]
    assert together["code"].tolist() == [code for code, _, _ in alone]
    confidence = [probability for _, probability, _ in alone]
    np.testing.assert_allclose(together["confidence"], confidence, atol=1e-3)


def test_weights_without_their_characters_are_refused():
    detection = Path(WEIGHTS["weights"]).with_name("PP-OCRv6_det_small.onnx")
    with pytest.raises(ValueError, match="weights: .*log weights of a PP-OCR recog"):
        load(path=str(detection))


def test_the_licence_comes_with_the_weights():
    assert "Apache License" in Path(WEIGHTS["license"]).read_text("utf-8")
    assert "PP-OCRv6_rec_small.onnx" in Path(WEIGHTS["notice"]).read_text("utf-8")


def test_a_large_jpeg_is_read_at_half_its_size():
    large = picture_file(np.zeros((800, 3200), np.uint8), "JPEG")
    assert model_code.read_picture(large).shape == (400, 1600, 3)


def test_own_labels_are_named_after_their_codes(tmp_path):
    assert drawing.own_labels(tmp_path) == []
    folder = tmp_path / "labels"
    folder.mkdir()
    with pytest.raises(ValueError, match="no photographs in .*labels; put yours there"):
        drawing.own_labels(tmp_path)
    (folder / "ABC-123456.png").write_bytes(picture_file(PAPER))
    (folder / "._ABC-123456.png").write_bytes(b"what macOS leaves beside a file")
    (label,) = drawing.own_labels(tmp_path)
    assert label.code == "ABC-123456" and (label.picture == PAPER).all()
    (folder / "cut.jpg").write_bytes(picture_file(PAPER, "JPEG")[:-40])
    with pytest.raises(ValueError, match="labels/cut.jpg: .* not a complete image"):
        drawing.own_labels(tmp_path)
