"""canny_edge_qc and label_reader: which files both read, and which they refuse."""

import base64
import io
import json
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from benchmarks.pictures import picture_file
from tests.conftest import refusal, siblings

canny, parts = siblings("canny_edge_qc", "model_code", "parts")
label, weights = siblings("label_reader", "model_code", "weights")
GREY = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Load both models; `make smoke` sends requests to logged ones."""
    calibration = tmp_path_factory.mktemp("golden") / "calibration.json"
    golden = parts.make_parts(0, golden=19, good=0, bad=0).golden
    calibration.write_text(json.dumps(canny.calibrate(golden)))
    inspection, reader = canny.EdgeInspection(), label.LabelReader()
    inspection.load_context(SimpleNamespace(artifacts={"calibration": calibration}))
    artifacts, config = weights.recognition_weights(), {"threads": 1}
    reader.load_context(SimpleNamespace(artifacts=artifacts, model_config=config))
    return {"canny_edge_qc": inspection, "label_reader": reader}


both = pytest.mark.parametrize("name", ["canny_edge_qc", "label_reader"])


def same(name, file, picture):
    """Tell whether the model reads this grey picture from the file."""
    if name == "label_reader":
        return np.array_equal(label.read_picture(file), np.dstack([picture] * 3))
    return np.array_equal(canny.read_grey(file), picture)


TEXT = base64.encodebytes(picture_file(GREY)).decode()  # in lines of 76 characters
SENT = {
    "bytes": picture_file(GREY),
    "base64 text": TEXT,
    "data: URL": "data:image/png;base64," + TEXT,
    "BMP": picture_file(GREY, "BMP"),
    "TIFF": picture_file(GREY, "TIFF"),
    "WEBP": picture_file(GREY, "WEBP", lossless=True),
    "in colour": picture_file(np.dstack([GREY] * 3)),
}


@both
@pytest.mark.parametrize("way", SENT)
def test_a_file_is_read_however_it_is_sent(name, way):
    assert same(name, SENT[way], GREY)


@both
@pytest.mark.parametrize("orientation", [2, 6])
def test_a_picture_is_turned_as_a_viewer_shows_it(name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = picture_file(GREY[:30], exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    assert same(name, file, shown)


PAGES = {"save_all": True, "append_images": [Image.fromarray(255 - GREY)]}
REFUSED = {
    "nothing": (b"", "not an image file; send one"),
    "null": (None, "not an image file; send one"),
    "not base64": ("n@t bas\ud800", "not an image file; send one"),
    "GIF": (picture_file(GREY, "GIF"), "not a complete .*send BMP, JPEG, PNG, TIFF"),
    "cut JPEG": (picture_file(GREY, "JPEG")[:-40], "not a complete image"),
    "transparent": (picture_file(np.dstack([GREY] * 4)), "mode RGBA; send 8-bit grey"),
    "a grey is transparent": (picture_file(GREY, transparency=5), "without transpar"),
    "16 bits": (picture_file(GREY.astype(np.uint16) * 256), "mode I;16"),
    "two pages": (picture_file(GREY, "TIFF", **PAGES), "pages; send one picture"),
    # cut behind its header: refused before its pixels are looked for
    "over 50 million pixels": (
        picture_file(np.zeros((5000, 10001), np.uint8))[:99],
        "50005000 pixels; send a picture of at most 50000000",
    ),
}


@both
@pytest.mark.parametrize("data, message", REFUSED.values(), ids=REFUSED)
def test_a_bad_image_is_refused_with_its_row(models, name, data, message):
    good = picture_file(np.zeros((40, 40), np.uint8))
    frame = pd.DataFrame({"image": [good, data]}, index=["first", "second" * 99])
    with refusal(message) as error:
        models[name].predict(None, frame)
    assert str(error.value).startswith("column 'image', row 'second")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "name, least, times", [("canny_edge_qc", 32, 8), ("label_reader", 12, 20)]
)
def test_the_least_sides(models, name, least, times):
    def answer(height, width):
        file = picture_file(np.zeros((height, width), np.uint8))
        return models[name].predict(None, pd.DataFrame({"image": [file]}))

    assert len(answer(least, times * least)) == 1
    for shape in ((least - 1, 40), (least, times * least + 1)):
        with pytest.raises(mlflow.MlflowException, match=f"send at least {least} px"):
            answer(*shape)
