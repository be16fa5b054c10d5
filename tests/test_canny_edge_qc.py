"""canny_edge_qc: what it finds, what leaves a verdict alone, what is refused, quality floors."""

import base64
import io
import json
import sys
from types import SimpleNamespace

from shared.recipes import find

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

FOLDER = str(find("canny_edge_qc").path)
SIBLINGS = ("model_code", "parts", "evaluation")
sys.path.insert(0, FOLDER)  # its files import each other by their bare names
for name in SIBLINGS:
    sys.modules.pop(name, None)
import evaluation  # noqa: E402
import model_code  # noqa: E402
from model_code import calibrate, gradients, inspect, largest_edge, read_grey  # noqa: E402
from parts import DEFECTS, Parts, make_parts  # noqa: E402

for name in SIBLINGS:  # another recipe's tests find their own
    del sys.modules[name]
sys.path.remove(FOLDER)

BOX = ["x", "y", "width", "height"]
GREY = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))
PARTS = make_parts(0, golden=60, good=20, bad=10)
BAD = [part for _, part in PARTS.bad]
KNOWN = calibrate(PARTS.golden)


def file(image: np.ndarray, kind: str = "PNG", **how) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **how)
    return out.getvalue()


def load(calibration: dict, folder) -> model_code.EdgeInspection:
    """Return the model, loaded; `make smoke` and the contract send requests to a logged one."""
    (folder / "known.json").write_text(json.dumps(calibration))
    model = model_code.EdgeInspection()
    model.load_context(
        SimpleNamespace(artifacts={"calibration": folder / "known.json"})
    )
    return model


def fails(images) -> np.ndarray:
    return np.array([inspect(image, KNOWN)["verdict"] == "fail" for image in images])


def static(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, image.shape, "uint8")


def test_the_seed_draws_the_same_parts():
    """To a few grey levels of 100 million; the page's and the run's figures are of these."""
    grey = pd.Series([float(part.sum()) for part in BAD]).groupby(
        [kind for kind, _ in PARTS.bad]
    )
    want = {
        "chip": 80885406,
        "crack": 80294120,
        "pinhole": 78395394,
        "uneven": 87270980,
    }
    assert grey.sum().to_dict() == pytest.approx(want, rel=1e-6)


def test_quality_on_unseen_parts():
    """The floors leave room for noise; the wrong-answer guard is the textbook rule, a coin."""
    scored = evaluation.evaluate(PARTS, evaluation.largest_edge)
    whole = evaluation.summary(scored)
    assert (
        whole["AUROC"] >= 0.85
        and whole["found"] >= 0.7
        and whole["false alarms"] <= 0.1
    )
    assert list(scored["defect"].unique()) == ["good", *DEFECTS]
    textbook = evaluation.summary(evaluation.evaluate(PARTS, evaluation.edge_density))
    assert textbook["AUROC"] < 0.65


def test_with_good_parts_alone_each_is_left_out_once():
    worst = max(BAD, key=lambda part: inspect(part, KNOWN)["defect_score"])
    parts = Parts([*PARTS.golden[:24], worst], [], [])
    scored = evaluation.evaluate(parts, evaluation.largest_edge)
    assert len(scored) == 25 and set(scored["defect"]) == {"good"}
    assert scored["score"].max() > 1.5  # against a limit that it had no part in
    assert evaluation.summary(scored).keys() == {"false alarms"}
    assert evaluation.auroc(np.array([1.0, 2, 3]), np.array([2.0, 4])) == pytest.approx(
        4.5 / 6
    )


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_crack_is_boxed_where_it_was_drawn(quarters):
    dark, drawn = PARTS.good[1].copy(), np.zeros_like(PARTS.good[1])
    for image in (dark, drawn):
        cv2.line(image, (100, 60), (112, 110), 40, 1, cv2.LINE_AA)
    found, box = (
        inspect(np.rot90(dark, quarters), KNOWN),
        np.rot90(drawn, quarters).copy(),
    )
    assert (found["verdict"], found["reason"]) == ("fail", "largest edge")
    np.testing.assert_allclose(
        [found[side] for side in BOX], cv2.boundingRect(box), atol=8
    )


CHANGES = {
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.8),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.2),
    "20 more": lambda image: cv2.add(image, np.full_like(image, 20)),
    "shadow": lambda image: np.uint8(image * np.linspace(0.75, 1, image.shape[1])),
    "JPEG": lambda image: read_grey(file(image, "JPEG", quality=90)),
}


def test_verdict_stays():
    verdicts = fails(unseen := [*PARTS.good, *BAD])
    for name, change in CHANGES.items():
        assert (verdicts != fails(map(change, unseen))).sum() <= 2, name  # of 60
    for quarters in (1, 2, 3):
        assert (verdicts == fails(np.rot90(image, quarters) for image in unseen)).all()


def test_noise_turns_no_fail_into_a_pass():
    for deviation in (3, 8, 20):
        noise = np.random.default_rng(0).normal(0, deviation, (400, 400))
        noisy = [
            cv2.add(part, noise[: len(part), : part.shape[1]], dtype=0) for part in BAD
        ]
        assert (
            fails(BAD) & ~fails(noisy)
        ).sum() <= 2  # of 40, scores next to the limit


def test_another_texture_fails_whatever_its_edges():
    for part in PARTS.good[:5]:
        dithered = np.uint8(255) * (part > static(part))
        smooth = [
            np.full_like(part, 128),
            np.zeros_like(part),
            cv2.GaussianBlur(part, (0, 0), 3),
        ]
        for reason, others in {
            "too smooth": smooth,
            "too rough": [static(part), dithered],
        }.items():
            for found in (inspect(other, KNOWN) for other in others):
                assert (found["verdict"], found["reason"]) == ("fail", reason)
                assert np.isfinite(found["defect_score"])


def test_empty_box_stays_empty_and_a_box_stays_inside():
    for shape in ((64, 81), (81, 64), (33, 250)):
        found = inspect(np.full(shape, 99, np.uint8), KNOWN)
        assert [found[side] for side in BOX] == [0, 0, 0, 0] and found[
            "defect_score"
        ] == 0
        found = inspect(static(np.empty(shape)), KNOWN | {"canny": 500.0})
        assert found["width"] and found["x"] + found["width"] <= shape[1]
        assert found["y"] + found["height"] <= shape[0]


def test_grain_and_the_parts_own_border_are_averaged_away():
    grooves = np.tile(
        np.random.default_rng(0).integers(60, 200, 200, "uint8"), (200, 1)
    )
    for grey, lies in ((grooves, False), (grooves.T, True)):
        slopes, texture, turned = gradients(np.ascontiguousarray(grey))
        assert turned == lies and np.abs(slopes).max() < 10 and texture == 0
        assert slopes.shape == (2, 100, 100)

    def strongest(row: int) -> float:
        grey = grooves.copy()
        grey[:row] //= 2  # an edge across the whole grain
        return float(np.abs(gradients(grey)[0]).max(axis=(0, 2))[row // 2])

    assert min(strongest(100), strongest(35)) > 5 * strongest(20)
    lines = np.tile(np.array([[100], [120]], np.uint8), (40, 80))
    lines[:, ::2] = (
        20  # changes more across the grain: the texture is what it changes along it
    )
    assert gradients(lines)[1] == pytest.approx(
        np.log(140 / 120) / 2 * 79 / 80, rel=1e-5
    )


def test_largest_edge_counts_the_energy_inside():
    slopes = np.zeros((2, 100, 100), np.int16)
    slopes[0, 20:40, 50] = 1000
    slopes[0, 60:70, 30] = slopes[1, 60:70, 30] = (
        650  # |dx| + |dy| = 1300: shorter, and weaker
    )
    slopes[0, :, 2] = 9000  # in the rim
    size, mask = largest_edge(slopes, 900.0)
    assert cv2.boundingRect(mask.astype(np.uint8)) == (50, 20, 1, 20)
    assert size == pytest.approx(np.sqrt(20 * (1000 / 900) ** 2 / 100))
    assert largest_edge(slopes, 1200.0)[1].sum() == 10
    assert largest_edge(np.zeros_like(slopes), 900.0)[0] == 0


def test_limit_is_the_conformal_quantile():
    scores = [inspect(part, KNOWN)["defect_score"] for part in PARTS.golden]
    assert sum(score > 1 for score in scores) == 2 and 1.0 in scores  # the 58th of 60
    known = calibrate(least := PARTS.golden[:19])
    assert (
        max(inspect(part, known)["defect_score"] for part in least) == 1
    )  # the worst of 19
    textures = [gradients(part)[1] for part in least]
    assert known["smoothest"] == 0.6 * min(textures) and known["roughest"] == 1.3 * max(
        textures
    )
    sharp = [
        np.quantile(np.abs(gradients(p)[0].astype(float)).sum(axis=0), 0.99)
        for p in least
    ]
    assert known["canny"] == pytest.approx(np.median(sharp))
    with pytest.raises(ValueError, match="18 good parts; give at least 19"):
        calibrate(least[:18])


def test_every_format_gives_the_same_picture():
    files = [file(GREY, kind) for kind in ("PNG", "BMP", "TIFF")]
    files += [
        file(GREY, "WEBP", lossless=True),
        file(np.dstack([GREY] * 3)),
    ]  # grey as colour
    text = base64.encodebytes(files[0])
    for data in (*files, text, text.decode(), text.replace(b"\n", b"").decode()):
        assert (read_grey(data) == GREY).all()


PAGES = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}
REFUSED = {
    **{repr(nothing): (nothing, "no image") for nothing in (b"", None, 7)},
    "base64 of junk": ("anVuaw==", "4 bytes, no whole .*UnidentifiedImageError"),
    "no base64": ("n@t bas\ud800", "no whole"),
    "GIF": (file(GREY, "GIF"), "no whole BMP, JPEG, PNG, TIFF, WEBP file"),
    "cut JPEG": (file(GREY, "JPEG")[:-40], "no whole"),
    "colour": (
        file(np.dstack([GREY, GREY, GREY + 1])),
        "mode RGB; send one page of 8-bit grey",
    ),
    "transparent": (file(np.dstack([GREY] * 4)), "mode RGBA"),
    "one grey is transparent": (file(GREY, transparency=5), "mode transparent"),
    "16 bits": (file(GREY.astype(np.uint16) * 256), "mode I;16"),
    "palette": (file(GREY.astype(bool)), "mode 1"),
    **{
        k: (file(GREY, k, **PAGES), r"2 page\(s\) of 1600 px")
        for k in ("TIFF", "PNG", "WEBP")
    },
    # cut behind its header: refused before its pixels are looked for
    "50 million": (
        file(np.zeros((5000, 10001), np.uint8))[:99],
        "50005000 px.*most 50000000 px",
    ),
    "small": (file(GREY[:31]), r"uint8 \(31, 40\): give uint8, 32 px or more"),
    "slim": (file(np.zeros((32, 257), np.uint8)), "up to 8:1"),
}


@pytest.mark.parametrize("data, message", REFUSED.values(), ids=REFUSED)
def test_bad_image_is_refused_with_its_row(tmp_path, data, message):
    frame = pd.DataFrame({"image": [file(GREY), data]}, index=["first", "second"])
    with pytest.raises(mlflow.MlflowException, match=message) as error:
        load(KNOWN, tmp_path).predict(None, frame)
    assert error.value.get_http_status_code() == 400
    assert str(error.value).startswith("column 'image', row 'second': ")


def test_anything_but_a_column_of_grey_pictures_is_refused(tmp_path):
    for columns in (["picture"], ["image", "more"], ["image", "image"]):
        frame = pd.DataFrame([[b""] * len(columns)], columns=columns)
        with pytest.raises(mlflow.MlflowException, match="give one column, 'image'"):
            load(KNOWN, tmp_path).predict(None, frame)
    for bad in (
        GREY.astype(float),
        np.dstack([GREY] * 3),
        GREY[0],
        np.asarray(np.uint8(5)),
    ):
        with pytest.raises(ValueError, match="give uint8"):
            inspect(bad, KNOWN)


def test_predict_is_the_plain_function(tmp_path):
    model = load(KNOWN, tmp_path)
    images = [PARTS.good[0], BAD[0]]
    frame = pd.DataFrame({"image": [file(image) for image in images]}, index=["a", "b"])
    answer = model.predict(None, frame)
    assert list(answer.index) == ["a", "b"] and list(answer) == model_code.COLUMNS
    assert answer.to_dict("records") == [inspect(image, KNOWN) for image in images]
    assert model.predict(None, frame.iloc[:0]).empty


def test_broken_calibration_is_refused(tmp_path):
    for key in KNOWN:
        for value in (np.nan, 0.0, None, "1", True, np.inf):
            with pytest.raises(ValueError, match="make it with calibrate"):
                load(KNOWN | {key: value}, tmp_path)
