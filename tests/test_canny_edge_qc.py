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
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import _parse_json_data, predictions_to_json
from mlflow.types.schema import ColSpec, Schema
from PIL import Image

from shared.recipes import find

RECIPE = find("canny_edge_qc")
SIBLINGS = ("model_code", "parts", "evaluation")
sys.path.insert(0, str(RECIPE.path))  # its files import each other by their bare names
for name in SIBLINGS:
    sys.modules.pop(name, None)
import evaluation  # noqa: E402
import model_code  # noqa: E402
from model_code import calibrate, gradients, inspect, largest_edge, read_grey  # noqa: E402
from parts import DEFECTS, Parts, make_parts  # noqa: E402

for name in SIBLINGS:  # another recipe's tests find their own
    del sys.modules[name]
sys.path.remove(str(RECIPE.path))

BOX = ["x", "y", "width", "height"]
GREY = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))


@pytest.fixture(scope="module")
def drawn():
    """Drawn parts, the calibration on the good ones, and all unseen pictures."""
    parts = make_parts(0, golden=60, good=20, bad=10)
    return parts, calibrate(parts.golden), [*parts.good, *(part for _, part in parts.bad)]


@pytest.fixture(scope="module")
def logged(drawn, tmp_path_factory):
    """The model as it comes back from a store: MLflow's own input checks are in front of it."""
    folder = tmp_path_factory.mktemp("edges")
    (folder / "calibration.json").write_text(json.dumps(drawn[1]))
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=RECIPE.path / "model_code.py",
        artifacts={"calibration": str(folder / "calibration.json")},
        signature=ModelSignature(Schema([ColSpec("binary", "image")])),
        input_example=pd.DataFrame({"image": [file(GREY)]}),
        pip_requirements=str(RECIPE.path / "requirements.txt"),
    )
    return mlflow.pyfunc.load_model(str(folder / "model"))


def file(image: np.ndarray, kind: str = "PNG", **how) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **how)
    return out.getvalue()


def over_rest(logged, body: dict) -> list[dict]:
    """Return what the model server's own parser, the model and its JSON make of a request."""
    parsed = _parse_json_data(json.dumps(body), logged.metadata, logged.metadata.get_input_schema())
    out = io.StringIO()
    predictions_to_json(logged.predict(parsed.data, params=parsed.params), out)
    return json.loads(out.getvalue())["predictions"]


def failed(images, calibration) -> np.ndarray:
    return np.array([inspect(image, calibration)["verdict"] == "fail" for image in images])


# ---------------------------------------------------------------- what it finds


def test_quality_on_unseen_parts(drawn):
    """The floors leave room for noise; the wrong-answer guard is the textbook rule, a coin."""
    scored = evaluation.evaluate(drawn[0], evaluation.largest_edge)
    whole = evaluation.summary(scored)
    assert whole["AUROC"] >= 0.85 and whole["found"] >= 0.7 and whole["false alarms"] <= 0.1
    assert list(scored["defect"].unique()) == ["good", *DEFECTS]
    textbook = evaluation.summary(evaluation.evaluate(drawn[0], evaluation.edge_density))
    assert textbook["AUROC"] < 0.65


def test_with_good_parts_alone_each_is_left_out_once(drawn):
    worst = max(drawn[2], key=lambda part: inspect(part, drawn[1])["defect_score"])
    golden = [*drawn[0].golden[:24], worst]  # no good part
    scored = evaluation.evaluate(Parts(golden, [], []), evaluation.largest_edge)
    assert len(scored) == 25 and set(scored["defect"]) == {"good"}
    assert scored["score"].max() > 1.5  # against a limit that it had no part in
    assert evaluation.summary(scored).keys() == {"false alarms"}
    assert evaluation.auroc(np.array([1.0, 2, 3]), np.array([2.0, 4])) == pytest.approx(4.5 / 6)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_crack_is_boxed_where_it_was_drawn(drawn, quarters):
    dark = drawn[0].good[1].copy()
    cv2.line(dark, (100, 60), (112, 110), 40, 1, cv2.LINE_AA)
    painted = np.zeros_like(dark)
    painted[60:111, 100:113] = 1
    turned = [np.ascontiguousarray(np.rot90(image, quarters)) for image in (dark, painted)]
    found = inspect(turned[0], drawn[1])
    assert (found["verdict"], found["reason"]) == ("fail", "largest edge")
    box = [found[side] for side in BOX]
    np.testing.assert_allclose(box, cv2.boundingRect(turned[1]), atol=8)


# ---------------------------------------------------------------- what mustn't matter


def shaded(image):
    return np.rint(image * np.linspace(0.75, 1, image.shape[1])).astype(np.uint8)


CHANGES = {
    "90 degrees": np.rot90,
    "180 degrees": lambda image: np.rot90(image, 2),
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.8),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.2),
    "20 grey levels more": lambda image: cv2.add(image, np.full_like(image, 20)),
    "shadow": shaded,
    "JPEG": lambda image: read_grey(file(image, "JPEG", quality=90)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verdict_stays(drawn, change):
    _, calibration, unseen = drawn
    other = [np.ascontiguousarray(CHANGES[change](image)) for image in unseen]
    allowed = 0 if "degrees" in change else 2  # of 60
    assert (failed(unseen, calibration) != failed(other, calibration)).sum() <= allowed


@pytest.mark.parametrize("deviation", [8, 20])
def test_noise_turns_no_fail_into_a_pass(drawn, deviation):
    parts, calibration, _ = drawn
    bad = [part for _, part in parts.bad]
    noise = np.random.default_rng(0).normal(0, deviation, (400, 400))
    noisy = [cv2.add(part, noise[: len(part), : part.shape[1]], dtype=0) for part in bad]
    lost = failed(bad, calibration) & ~failed(noisy, calibration)
    assert lost.sum() <= 2  # of 40, scores next to the limit


@pytest.mark.parametrize(
    "reason, change",
    [
        ("too smooth", lambda image: np.full_like(image, 128)),
        ("too smooth", lambda image: np.zeros_like(image)),
        ("too smooth", lambda image: cv2.GaussianBlur(image, (0, 0), 3)),
        (
            "too rough",
            lambda image: np.random.default_rng(0).integers(0, 256, image.shape, "uint8"),
        ),
        (
            "too rough",
            lambda image: (
                np.uint8(255) * (image > np.random.default_rng(0).integers(0, 256, image.shape))
            ),
        ),
    ],
)
def test_picture_of_another_kind_fails_whatever_its_edges(drawn, reason, change):
    for part in drawn[0].good[:5]:
        found = inspect(change(part), drawn[1])
        assert (found["verdict"], found["reason"]) == ("fail", reason)
        assert np.isfinite(found["defect_score"])


def test_empty_box_stays_empty_and_a_box_stays_inside(drawn):
    for shape in ((64, 81), (81, 64), (33, 250)):
        found = inspect(np.full(shape, 99, np.uint8), drawn[1])
        assert [found[side] for side in BOX] == [0, 0, 0, 0] and found["defect_score"] == 0
        noise = np.random.default_rng(0).integers(0, 256, shape, "uint8")
        found = inspect(noise, drawn[1] | {"canny": 500.0})
        assert found["width"] and found["x"] + found["width"] <= shape[1]
        assert found["y"] + found["height"] <= shape[0]


# ---------------------------------------------------------------- the steps


def test_grain_is_averaged_away_and_so_is_the_parts_own_border():
    grooves = np.tile(np.random.default_rng(0).integers(60, 200, 200, "uint8"), (200, 1))
    slopes, texture, turned = gradients(grooves)
    assert slopes.shape == (2, 100, 100) and not turned and texture == 0
    assert np.abs(slopes).max() < 10
    slopes, _, turned = gradients(np.ascontiguousarray(grooves.T))
    assert turned and np.abs(slopes).max() < 10

    def strongest(row: int) -> float:
        grey = grooves.copy()
        grey[:row] //= 2  # an edge across the whole grain
        return float(np.abs(gradients(grey)[0]).max(axis=(0, 2))[row // 2])

    assert min(strongest(100), strongest(35)) > 5 * strongest(20)


def test_texture_is_the_change_along_the_grain():
    grey = np.tile(np.array([[100], [120]], np.uint8), (40, 80))
    grey[:, ::2] = 20  # across the grain it changes more
    want = np.log(140 / 120) / 2 * 79 / 80
    assert gradients(grey)[1] == pytest.approx(want, rel=1e-5)


def test_largest_edge_counts_the_energy_inside():
    slopes = np.zeros((2, 100, 100), np.int16)
    slopes[0, 20:40, 50] = 1000
    slopes[0, 60:70, 30] = slopes[1, 60:70, 30] = 650  # |dx| + |dy| = 1300: shorter, and weaker
    slopes[0, :, 2] = 9000  # in the rim
    size, mask = largest_edge(slopes, 900.0)
    assert cv2.boundingRect(mask.astype(np.uint8)) == (50, 20, 1, 20)
    assert size == pytest.approx(np.sqrt(20 * (1000 / 900) ** 2 / 100))
    assert largest_edge(slopes, 1200.0)[1].sum() == 10
    weak = slopes.copy()
    weak[0, 20:39, 50] = 750  # over 0.8 of the threshold, and joined to one point over it
    assert largest_edge(weak, 900.0)[1].sum() >= 10
    assert largest_edge(np.zeros_like(slopes), 900.0) == (0, pytest.approx(np.zeros((100, 100))))


def test_limit_is_the_conformal_quantile(drawn):
    parts, calibration, _ = drawn
    scores = [inspect(part, calibration)["defect_score"] for part in parts.golden]
    assert sum(score > 1 for score in scores) == 2 and 1.0 in scores  # the 58th of 60
    least = parts.golden[:19]
    known = calibrate(least)
    assert max(inspect(part, known)["defect_score"] for part in least) == 1  # the worst of 19
    textures = [gradients(part)[1] for part in least]
    assert known["smoothest"] == 0.6 * min(textures)
    assert known["roughest"] == 1.3 * max(textures)
    sharp = [np.quantile(np.abs(gradients(p)[0].astype(float)).sum(axis=0), 0.99) for p in least]
    assert known["canny"] == pytest.approx(np.median(sharp))
    with pytest.raises(ValueError, match="18 good parts; give at least 19"):
        calibrate(least[:18])


# ---------------------------------------------------------------- files


def test_every_format_gives_the_same_picture():
    for kind in ("PNG", "BMP", "TIFF"):
        assert (read_grey(file(GREY, kind)) == GREY).all()
    assert (read_grey(file(GREY, "WEBP", lossless=True)) == GREY).all()
    assert (read_grey(file(np.dstack([GREY] * 3))) == GREY).all()  # grey stored as colour
    encoded = base64.encodebytes(file(GREY))
    for text in (encoded, encoded.decode(), encoded.replace(b"\n", b"").decode()):
        assert (read_grey(text) == GREY).all()


OTHER = [Image.fromarray(255 - GREY)]
BAD = {
    "junk": (b"junk", "no whole .*UnidentifiedImageError"),
    "nothing": (b"", "no image"),
    "missing": (None, "no image"),
    "number": (7, "no image"),
    "base64 of junk": ("anVuaw==", "4 bytes, no whole"),
    "no base64": ("n@t bas\ud800", "no whole"),
    "GIF": (file(GREY, "GIF"), "no whole BMP, JPEG, PNG, TIFF, WEBP file"),
    "cut JPEG": (file(GREY, "JPEG")[:-40], "no whole"),
    "cut PNG": (file(GREY)[:-30], "no whole"),
    "colour": (file(np.dstack([GREY, GREY, GREY + 1])), "mode RGB; send one page of 8-bit grey"),
    "transparent": (file(np.dstack([GREY] * 4)), "mode RGBA"),
    "one grey is transparent": (file(GREY, transparency=5), "mode transparent"),
    "16 bits": (file(GREY.astype(np.uint16) * 256), "mode I;16"),
    "palette": (file(GREY.astype(bool)), "mode 1"),
    "pages": (file(GREY, "TIFF", save_all=True, append_images=OTHER), r"2 page\(s\) of 1600 px"),
    "APNG": (file(GREY, "PNG", save_all=True, append_images=OTHER), r"2 page\(s\)"),
    "WebP film": (file(GREY, "WEBP", save_all=True, append_images=OTHER), r"2 page\(s\)"),
    "50 million": (file(np.zeros((5000, 10001), np.uint8)), "50005000 px.*at most 50000000 px"),
    "bomb": (file(np.zeros((9000, 10000), np.uint8)), "DecompressionBombWarning"),
    "small": (file(GREY[:31]), r"uint8 \(31, 40\): give uint8, 32 px or more"),
    "slim": (file(np.zeros((32, 257), np.uint8)), "up to 8:1"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused_with_its_row(logged, bad):
    data, message = BAD[bad]
    frame = pd.DataFrame({"image": [file(GREY), data]}, index=["first", "second"])
    with pytest.raises(mlflow.MlflowException, match=message) as error:
        logged.predict(frame)
    assert error.value.get_http_status_code() == 400
    assert str(error.value).startswith("column 'image', row 'second': ")


@pytest.mark.parametrize(
    "frame",
    ["x", None, pd.DataFrame({"picture": [b""]}), pd.DataFrame([[b"", b""]], None, ["image"] * 2)],
)
def test_anything_but_one_column_is_refused(logged, frame):
    with pytest.raises(mlflow.MlflowException, match="give one column, 'image'"):
        logged.unwrap_python_model().predict(None, frame)


def test_arrays_that_are_no_grey_picture_are_refused(drawn):
    for bad in (GREY.astype(float), np.dstack([GREY] * 3), np.uint8(5) * np.ones((), "uint8")):
        with pytest.raises(ValueError, match="give uint8"):
            inspect(np.asarray(bad), drawn[1])


# ---------------------------------------------------------------- through MLflow


def test_predict_is_the_plain_function_over_rest_too(drawn, logged):
    parts, calibration, _ = drawn
    images = [parts.good[0], parts.bad[0][1]]
    frame = pd.DataFrame({"image": [file(image) for image in images]}, index=["a", "b"])
    answer = logged.predict(frame)
    assert list(answer.index) == ["a", "b"] and list(answer) == model_code.COLUMNS
    assert answer.to_dict("records") == [inspect(image, calibration) for image in images]
    assert logged.predict(frame.iloc[:0]).empty
    text = [base64.b64encode(data).decode() for data in frame["image"]]
    bodies = [
        {"dataframe_split": {"columns": ["image"], "data": [[data] for data in text]}},
        {"dataframe_records": [{"image": data} for data in text]},
        {"inputs": {"image": text}},
    ]
    for body in bodies:
        got = pd.DataFrame(over_rest(logged, body))
        pd.testing.assert_frame_equal(got, answer.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("value", [float("nan"), 0.0, None, "1", True, float("inf")])
@pytest.mark.parametrize("key", ["canny", "limit", "smoothest", "roughest"])
def test_broken_calibration_is_refused(drawn, tmp_path, key, value):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(drawn[1] | {key: value}))
    context = mlflow.pyfunc.PythonModelContext({"calibration": str(path)}, None)
    with pytest.raises(ValueError, match="make it with calibrate"):
        model_code.EdgeInspection().load_context(context)
