"""canny_edge_qc: what it finds, what leaves a verdict alone, what is refused."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from benchmarks.pictures import picture_file
from tests.conftest import siblings

evaluation, model_code, pieces, photographs = siblings(
    "canny_edge_qc", "evaluation", "model_code", "parts", "photographs"
)
inspect, own_parts, Parts = model_code.inspect, photographs.own_parts, pieces.Parts
BOX = ["x", "y", "width", "height"]
GREY = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))
PARTS = pieces.make_parts(0, golden=60, good=20, bad=10)
BAD = [part for _, part in PARTS.bad]
CALIBRATION = model_code.calibrate(PARTS.golden)


def load(calibration: dict, folder):
    """Return the model, loaded; `make smoke` sends requests to a logged one."""
    path = folder / "calibration.json"
    path.write_text(json.dumps(calibration))
    model = model_code.EdgeInspection()
    model.load_context(SimpleNamespace(artifacts={"calibration": path}))
    return model


def failed(images) -> np.ndarray:
    verdicts = [inspect(image, CALIBRATION)["verdict"] for image in images]
    return np.array(verdicts) == "fail"


def static(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, image.shape, "uint8")


# What it finds, and what leaves a verdict alone.


def test_quality_on_unseen_parts():
    """Floors with room for chance; the textbook rule is no better than a coin toss."""
    scored = evaluation.evaluate(PARTS, evaluation.edge_rule)
    numbers = evaluation.summary(scored)
    assert numbers["AUROC"] >= 0.9
    assert numbers["found"] >= 0.8
    assert list(scored["defect"].unique()) == ["good", *pieces.DEFECTS]
    textbook = evaluation.summary(evaluation.evaluate(PARTS, evaluation.density_rule))
    assert textbook["AUROC"] < 0.65


def test_with_good_parts_alone_each_is_scored_by_the_others():
    worst = max(BAD, key=lambda part: inspect(part, CALIBRATION)["defect_score"])
    parts = Parts([*PARTS.golden[:24], worst], [], [])
    scored = evaluation.evaluate(parts, evaluation.edge_rule)
    assert len(scored) == 25 and set(scored["defect"]) == {"good"}
    assert scored["score"].max() > 1.5  # by a calibration that hasn't seen it
    assert evaluation.summary(scored).keys() == {"false alarms"}


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_crack_is_boxed_where_it_was_drawn(quarters):
    part, crack = PARTS.good[1].copy(), np.zeros_like(PARTS.good[1])
    for image in (part, crack):
        cv2.line(image, (100, 60), (112, 110), 40, 1, cv2.LINE_AA)
    answer = inspect(np.rot90(part, quarters), CALIBRATION)
    assert (answer["verdict"], answer["reason"]) == ("fail", "largest edge")
    box = [answer[side] for side in BOX]
    expected = cv2.boundingRect(np.rot90(crack, quarters).copy())
    np.testing.assert_allclose(box, expected, atol=8)


CHANGES = {
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.8),
    "shadow": lambda image: np.uint8(image * np.linspace(0.75, 1, image.shape[1])),
    "JPEG": lambda image: model_code.read_grey(picture_file(image, "JPEG", quality=90)),
    "turned by 90": lambda image: np.rot90(image),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verdicts_stay(change):
    unseen = [*PARTS.good, *BAD]
    changed = [CHANGES[change](image) for image in unseen]
    assert (failed(unseen) != failed(changed)).sum() <= 2  # of 60


TEXTURES = {
    "grey": ("too smooth", lambda part: np.full_like(part, 128)),
    "out of focus": ("too smooth", lambda part: cv2.GaussianBlur(part, (0, 0), 3)),
    "static": ("too rough", static),
    "dithered": ("too rough", lambda part: np.uint8(255) * (part > static(part))),
}


@pytest.mark.parametrize("texture", TEXTURES)
def test_another_texture_fails_whatever_its_edges(texture):
    reason, change = TEXTURES[texture]
    answer = inspect(change(PARTS.good[0]), CALIBRATION)
    assert (answer["verdict"], answer["reason"]) == ("fail", reason)
    assert np.isfinite(answer["defect_score"])


# Its steps.


def test_grooves_are_subtracted_along_the_grain():
    grooves = np.random.default_rng(0).uniform(60, 200, 200)
    levels = np.log(np.tile(grooves, (200, 1)).astype(np.float32))
    assert np.abs(model_code.subtract_grain(levels)).max() < 1e-4
    assert np.abs(model_code.subtract_grain(levels.T)).max() < 1e-4


def test_the_largest_edge_is_the_one_with_the_most_energy_inside():
    dx, dy = np.zeros((2, 100, 100), np.int16)
    dx[20:40, 50] = 1000  # 20 px long
    dx[60:70, 30] = dy[60:70, 30] = 850  # shorter, and steeper: 1202
    dx[:, 2] = 9000  # in the rim
    strength, box = model_code.largest_edge(dx, dy, 900.0)
    assert box == (100, 40, 2, 40)
    assert strength == pytest.approx(np.sqrt(20 * (1000 / 900) ** 2 / 100))
    assert model_code.largest_edge(dx, dy, 1100.0)[1] == (60, 120, 2, 20)
    assert model_code.largest_edge(dx * 0, dy * 0, 900.0) == (0.0, (0, 0, 0, 0))


def test_a_part_fails_above_the_limit_or_with_another_texture():
    def verdict(strength: float, roughness: float):
        calibration = {"limit": 2.0, "smoothest": 0.1, "roughest": 0.9}
        return model_code.compare_with_limit(strength, roughness, calibration)

    assert verdict(2.0, 0.5) == ("pass", 1.0, "largest edge")
    assert verdict(2.1, 0.5) == ("fail", 1.05, "largest edge")
    assert verdict(1.0, 0.09) == ("fail", 0.5, "too smooth")
    assert verdict(1.0, 0.91) == ("fail", 0.5, "too rough")


def test_the_limit_is_the_conformal_quantile():
    scores = [inspect(part, CALIBRATION)["defect_score"] for part in PARTS.golden]
    assert sum(score > 1 for score in scores) == 2 and 1.0 in scores  # the 58th of 60
    fewest = PARTS.golden[:19]
    calibration = model_code.calibrate(fewest)
    scores = [inspect(part, calibration)["defect_score"] for part in fewest]
    assert max(scores) == 1  # the worst of 19
    with pytest.raises(ValueError, match="18 good parts; give at least 19"):
        model_code.calibrate(fewest[:18])


def test_colour_turns_to_grey_by_luminance():
    colour = np.random.default_rng(0).integers(0, 256, (40, 40, 3), "uint8")
    expected = colour @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(model_code.read_grey(picture_file(colour)) - expected).max() <= 1


@pytest.mark.parametrize("picture", [GREY.astype(float), np.dstack([GREY] * 3)])
def test_the_plain_function_takes_grey_pictures_alone(picture):
    with pytest.raises(ValueError, match="give uint8"):
        inspect(picture, CALIBRATION)


def test_predict_is_the_plain_function(tmp_path):
    model = load(CALIBRATION, tmp_path)
    images = [PARTS.good[0], BAD[0]]
    frame = pd.DataFrame({"image": map(picture_file, images)}, index=["a", "b"])
    answer = model.predict(None, frame)
    assert list(answer.index) == ["a", "b"] and list(answer) == model_code.COLUMNS
    expected = [inspect(image, CALIBRATION) for image in images]
    assert answer.to_dict("records") == expected


@pytest.mark.parametrize("value", [np.nan, 0.0, None, np.inf])
@pytest.mark.parametrize("key", CALIBRATION)
def test_a_broken_calibration_is_refused(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key} is .*; make the file with calibrate"):
        load(CALIBRATION | {key: value}, tmp_path)


# Your own photographs.


def photograph(folder, number: int, ending: str = ".JPG") -> None:
    """Write so many colour photographs of good parts into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = {".JPG": "JPEG", ".png": "PNG", ".TIF": "TIFF"}[ending]
    for at in range(number):
        colour = np.dstack([PARTS.golden[at]] * 3)
        (folder / f"part_{at:02}{ending}").write_bytes(picture_file(colour, kind))


def test_photographs_are_found_at_any_depth_and_counted(tmp_path, capsys):
    (tmp_path / "goodness.txt").write_text("a file")
    assert own_parts(tmp_path) is None
    (tmp_path / "Good").mkdir()
    with pytest.raises(ValueError, match="0 photographs in .*Good; put at least 24"):
        own_parts(tmp_path)
    photograph(tmp_path / "Good/line1", 20)
    photograph(tmp_path / "Good/line2/monday", 5, ".TIF")
    photograph(tmp_path / "BAD", 3, ".png")
    (tmp_path / "Good/notes.txt").write_text("not a photograph")
    (tmp_path / "Good/._part_00.JPG").write_bytes(b"what macOS leaves beside a file")
    parts = own_parts(tmp_path)
    assert (len(parts.golden), len(parts.good), len(parts.bad)) == (25, 0, 3)
    assert capsys.readouterr().out.splitlines() == [
        f"20 photographs in {tmp_path}/Good/line1",
        f"5 photographs in {tmp_path}/Good/line2/monday",
        f"3 photographs in {tmp_path}/BAD",
    ]
    (tmp_path / "BAD/cut.jpg").write_bytes(picture_file(GREY, "JPEG")[:-40])
    with pytest.raises(ValueError, match="BAD/cut.jpg: .* not a complete image"):
        own_parts(tmp_path)
