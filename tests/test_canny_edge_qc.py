"""canny_edge_qc: what it finds, what leaves a verdict alone, what is refused, quality floors."""

import base64
import io
import json
import sys

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import _parse_json_data, predictions_to_json

from shared.recipes import find

RECIPE = find("canny_edge_qc")
sys.path.insert(0, str(RECIPE.path))  # where model_code.py finds its package, as in a loaded model

from golden_edges import rules, surface  # noqa: E402

from recipes.canny_edge_qc import evaluation, model_code, parts  # noqa: E402


@pytest.fixture(scope="module")
def ground():
    """The driver's ground parts, the calibration on the good ones, and all unseen pictures."""
    made = parts.make_parts("ground", bad=10)
    known = model_code.calibrate(made.golden)
    unseen = [surface.read_grey(f) for f in [*made.good, *(f for _, f in made.bad)]]
    return made, known, unseen


@pytest.fixture(scope="module")
def logged(ground, tmp_path_factory):
    """The model as it comes back from a store: MLflow's own input checks are in front of it."""
    folder = tmp_path_factory.mktemp("edges")
    (folder / "calibration.json").write_text(json.dumps(ground[1]))
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=RECIPE.path / "model_code.py",
        code_paths=[str(RECIPE.path / "golden_edges")],
        artifacts={"calibration": str(folder / "calibration.json")},
        signature=model_code.SIGNATURE,
        input_example=pd.DataFrame({"image": ground[0].good[:1]}),
        pip_requirements=str(RECIPE.path / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(str(folder / "model"))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def verdicts(images, known) -> list[str]:
    return [model_code.inspect(image, known)["verdict"] for image in images]


def over_rest(logged, body: dict) -> list[dict]:
    """Return what the model server's own parser, the model and its JSON make of a request."""
    parsed = _parse_json_data(json.dumps(body), logged.metadata, logged.metadata.get_input_schema())
    answer = logged.predict(parsed.data, params=parsed.params)
    out = io.StringIO()
    predictions_to_json(answer, out)
    return json.loads(out.getvalue())["predictions"]


# ---------------------------------------------------------------- quality


def test_quality_on_unseen_parts(ground):
    """The floors leave room for noise; the wrong-answer guard is the textbook rule, a coin."""
    table, scores = evaluation.steps(ground[0], ground[1])
    whole = table.iloc[-1]
    assert whole["AUROC"] >= 0.88 and whole["false alarms"] <= 0.07 and whole["found"] >= 0.6
    assert min(whole[defect] for defect in parts.DEFECTS) >= 0.8
    assert table["AUROC"].iloc[0] < 0.65
    # the table is of what the model answers, up to the floor of 1 under the limit
    answers = [model_code.inspect(image, ground[1])["defect_score"] for image in ground[2]]
    np.testing.assert_allclose(scores["score"], answers)


def test_hairline_crack_is_boxed_where_it_was_drawn(ground):
    made, known, _ = ground
    dark = surface.read_grey(made.good[1]).copy()
    cv2.line(dark, (100, 60), (112, 110), 40, 1, cv2.LINE_AA)
    found = model_code.inspect(dark, known)
    assert found["verdict"] == "fail"
    assert abs(found["x"] - 100) <= 6 and abs(found["y"] - 60) <= 6
    assert 10 <= found["width"] <= 26 and 45 <= found["height"] <= 66


# ---------------------------------------------------------------- what mustn't matter


def near(image, known) -> bool:
    """Whether a part's score is so near to the limit that a pixel may decide."""
    return abs(model_code.inspect(image, known)["defect_score"] - 1) < 0.1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_part_gets_the_same_verdict_and_box(ground, quarters):
    _, known, unseen = ground
    for image in unseen:
        straight = model_code.inspect(image, known)
        turned = model_code.inspect(np.ascontiguousarray(np.rot90(image, quarters)), known)
        assert turned["verdict"] == straight["verdict"]
        assert turned["defect_score"] == pytest.approx(straight["defect_score"], rel=1e-3)
        # the box is where the turned picture has it
        painted = np.zeros(image.shape)
        x, y, width, height = (straight[side] for side in model_code.BOX)
        painted[y : y + height, x : x + width] = 1
        rows, columns = np.nonzero(np.rot90(painted, quarters))
        box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        assert tuple(turned[side] for side in model_code.BOX) == box
        assert (turned["edges"] == np.rot90(straight["edges"], quarters)).all()


@pytest.mark.parametrize("gain", [0.8, 1.2])
def test_brightness_flips_no_verdict(ground, gain):
    _, known, unseen = ground
    dim = [image for image in unseen if np.quantile(image, 0.999) * gain < 255]
    other = [cv2.convertScaleAbs(image, alpha=gain) for image in dim]
    pairs = zip(dim, verdicts(dim, known), verdicts(other, known), strict=True)
    assert [1 for image, a, b in pairs if a != b and not near(image, known)] == []


@pytest.mark.parametrize("axis", [0, 1])
def test_shadow_over_the_whole_picture_flips_no_verdict(ground, axis):
    _, known, unseen = ground
    flips = 0
    for image in unseen:
        slope = np.linspace(0.8, 1.0, image.shape[axis], dtype=np.float32)
        shaded = image * (slope[:, None] if axis == 0 else slope)
        same = verdicts([image, np.rint(shaded).astype(np.uint8)], known)
        flips += same[0] != same[1] and not near(image, known)
    assert flips == 0


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_direction_is_estimated(angle):
    rng = np.random.default_rng(0)
    wide = (128 + 20 * parts.noise(rng, (400, 400), 20, 1)).astype(np.float32)
    turn = cv2.getRotationMatrix2D((200, 200), -angle, 1)  # y points down
    grey = cv2.warpAffine(wide, turn, (400, 400))[100:300, 100:300].astype(np.uint8)
    grain = surface.grain(grey)
    assert abs(grain) > 0.4
    off = (np.degrees(np.angle(grain)) / 2 - angle + 90) % 180 - 90
    assert abs(off) < 3
    # and the grain is gone only when flattened along it
    lit = surface.even_light(grey)[0]
    along = surface.flatten(lit, angle).std()
    assert along < 0.6 * lit.std() and along < 0.7 * surface.flatten(lit, angle + 45).std()


def test_shading_is_taken_out_whatever_the_size():
    rng = np.random.default_rng(0)
    texture = 100 + 5 * parts.noise(rng, (211, 304), 1, 1)
    y, x = np.mgrid[-1:1:211j, -1:1:304j]
    shaded = texture * (1 + 0.3 * x - 0.2 * y + 0.1 * x * y)
    plain, shaded = (surface.even_light(g.astype(np.uint8))[0] for g in (texture, shaded))
    assert np.abs(plain - shaded).max() < 0.04  # rounding to 8 bits
    bright = np.full((64, 64), 100, np.uint8)
    bright[20:30, 20:30] = 150
    assert 0.3 < surface.even_light(bright)[1] < 0.6


# ---------------------------------------------------------------- calibration


def test_limit_is_the_conformal_quantile():
    assert rules.limit(np.arange(1, 101.0)) == 96  # ceil(101 * 0.95)
    assert rules.limit(np.arange(1, 11.0)) == 10  # too few: the worst


def test_excess_counts_upwards_only():
    usual, high = np.array([0.0, 1.0]), np.array([2.0, 1.0])
    np.testing.assert_allclose(rules.excess(np.array([3.0, 0.5]), usual, high), [1.5, 0])
    assert rules.score(np.array([1.0, 5.0, 3.0])) == 4


def test_calibration_takes_files_and_arrays_alike(ground):
    files = ground[0].golden[:20]
    arrays = [surface.read_grey(file) for file in files]
    known = model_code.calibrate(files)
    assert known == model_code.calibrate(arrays)
    assert rules.check_calibration(json.loads(json.dumps(known))) == known


def test_false_alarms_on_real_photographs_stay_low():
    for name in parts.PHOTOGRAPHS:
        made = parts.make_parts(name)
        known = model_code.calibrate(made.golden)
        assert known["directional"] is (name == "brick")
        scores = [model_code.inspect(surface.read_grey(f), known) for f in made.good]
        assert sum(s["verdict"] == "fail" for s in scores) <= 3, name


@pytest.mark.parametrize(
    "name, value",
    [
        ("limit", float("nan")),
        ("canny", [1.0, float("nan"), 1.0]),
        ("canny", [1.0]),
        ("usual", None),
        ("density_limit", 0),
        ("directional", "yes"),
    ],
)
def test_broken_calibration_is_refused(ground, name, value):
    with pytest.raises(ValueError, match=name):
        rules.check_calibration(ground[1] | {name: value})
    with pytest.raises(ValueError, match=name):
        rules.check_calibration({k: v for k, v in ground[1].items() if k != name})


def test_too_few_or_bad_good_parts_are_refused(ground):
    with pytest.raises(ValueError, match="at least 5"):
        model_code.calibrate(ground[0].golden[:4])
    with pytest.raises(ValueError, match="good part 5: .*no whole image"):
        model_code.calibrate([*ground[0].golden[:5], b"junk"])


# ---------------------------------------------------------------- through MLflow


def test_predict_is_the_plain_function_and_keeps_the_index(ground, logged):
    made, known, _ = ground
    files = [made.good[0], made.bad[0][1]]
    frame = pd.DataFrame({"image": files}, index=["a", "b"])
    answer = logged.predict(frame)
    assert list(answer.index) == ["a", "b"] and list(answer) == list(model_code.COLUMNS)
    for (_, row), file in zip(answer.iterrows(), files, strict=True):
        want = model_code.inspect(surface.read_grey(file), known)
        assert {k: row[k] for k in want if k != "edges"} == {
            k: want[k] for k in want if k != "edges"
        }
        assert row["overlay"] is None
    text = pd.DataFrame(
        {"image": [base64.encodebytes(f).decode() for f in files]}, index=["a", "b"]
    )
    pd.testing.assert_frame_equal(logged.predict(text), answer)
    assert logged.predict(frame.iloc[:0]).empty


def test_rest_bodies_agree_and_the_overlay_is_a_picture(ground, logged):
    file = ground[0].bad[0][1]
    text = base64.b64encode(file).decode()
    split = {"dataframe_split": {"columns": ["image"], "data": [[text]]}}
    records = {"dataframe_records": [{"image": text}]}
    want = json.loads(logged.predict(pd.DataFrame({"image": [file]})).to_json(orient="records"))
    for body in (split, records, {"inputs": [{"image": text}]}, {"inputs": {"image": [text]}}):
        got = over_rest(logged, body)
        assert got[0]["defect_score"] == pytest.approx(want[0]["defect_score"])
        assert got[0]["x"] == want[0]["x"] and got[0]["overlay"] is None
    (row,) = over_rest(logged, split | {"params": {"overlay": True}})
    file_drawn = np.frombuffer(base64.b64decode(row["overlay"]), np.uint8)
    picture = cv2.imdecode(file_drawn, cv2.IMREAD_UNCHANGED)
    assert picture.shape == (*surface.read_grey(file).shape, 3)
    assert picture[row["y"], row["x"]].tolist() == [178, 114, 0]  # BGR: the box is blue
    assert (picture == (0, 159, 230)).all(axis=2).any()  # the edges are orange


def test_density_rule(ground, logged):
    made, known, _ = ground
    busy = png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    frame = pd.DataFrame({"image": [png(np.full((64, 64), 90, np.uint8)), busy]})
    blank, noisy = logged.predict(frame, params={"rule": "density"}).to_dict("records")
    assert (blank["verdict"], blank["edge_density"], blank["width"]) == ("pass", 0, 0)
    assert noisy["verdict"] == "fail" and noisy["width"] > 0
    edges = cv2.Canny(surface.read_grey(busy), 50, 150)
    assert noisy["edge_density"] == (edges > 0).mean()
    assert noisy["defect_score"] == pytest.approx(noisy["edge_density"] / known["density_limit"])


GREY = np.full((40, 40), 99, np.uint8)


@pytest.mark.parametrize(
    "bad, message",
    [
        (b"junk", "4 bytes that are no whole image"),
        (b"", "no image"),
        (None, "no image"),
        (7, "no image"),
        ("anVuaw==", "no whole image"),
        ("n@t base64", "no whole image"),
        (png(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8))[:-500], "no whole image"),
        (png(np.dstack([GREY, GREY, GREY + 1])), "colour"),
        (png(np.dstack([GREY] * 4)), "colour"),
        (png(GREY.astype(np.uint16) * 256), "uint16"),
        (png(GREY[:31]), "40 x 31 px"),
    ],
)
def test_bad_input_is_refused_with_its_row(ground, logged, bad, message):
    frame = pd.DataFrame({"image": [ground[0].good[0], bad]}, index=[10, 11])
    with pytest.raises(
        mlflow.MlflowException, match=f"column 'image', row 11: .*{message}"
    ) as error:
        logged.predict(frame)
    assert error.value.get_http_status_code() == 400


def test_bad_requests_are_refused(logged):
    good = base64.b64encode(png(GREY)).decode()
    with pytest.raises(mlflow.MlflowException, match="give one of golden, density"):
        logged.predict(pd.DataFrame({"image": [png(GREY)]}), params={"rule": "best"})
    with pytest.raises(mlflow.MlflowException, match="image"):
        logged.predict(pd.DataFrame({"picture": [png(GREY)]}))
    with pytest.raises(mlflow.MlflowException, match="image"):
        over_rest(logged, {"dataframe_split": {"columns": ["image"], "data": [[good], [None]]}})


def test_grey_stored_as_colour_is_taken_and_a_blank_picture_fails(ground):
    grey = surface.read_grey(ground[0].good[0])
    assert (surface.read_grey(png(np.dstack([grey] * 3))) == grey).all()
    for level in (0, 128, 255):
        found = model_code.inspect(np.full((64, 80), level, np.uint8), ground[1])
        assert (found["verdict"], found["reason"]) == ("fail", "lack of texture")
        assert np.isfinite(found["defect_score"]) and found["width"] == 0


# ---------------------------------------------------------------- the parts


def test_parts_are_the_same_each_time_and_no_region_is_on_both_sides():
    first, again = parts.make_parts("ground", 3, 1), parts.make_parts("ground", 3, 1)
    assert first == again
    cut = parts.blocks(parts.photograph("brick"))
    assert len(cut) == 36 and len({block.tobytes() for block in cut}) == 36
    made = parts.make_parts("brick")
    assert (len(made.golden), len(made.good), len(made.bad)) == (18, 18, 72)
