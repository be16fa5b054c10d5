"""Read the code on a printed label, or answer "unread".

The driver logs this file by its path, with the network's weights as an artifact. MLflow
stores its text and runs it at each load. The last line names the model.
"""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import cv2
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image, ImageOps

PATTERN = re.compile(r"[A-Z]{3}-[0-9]{6}")  # of a code
LETTERS = 3  # the first characters of a code are letters, the others digits
BAR = 0.95  # least confidence of a code; below it the label is unread
MARGIN = 0.3  # cut out around a line, as a share of its height
PAPER = 0.05  # least distance from the picture's edge, as a share of the line's height
HEIGHT = 48  # px, the height of the lines that the network was trained on
WIDTH = 320  # px, room for a line; a shorter one is padded on its right
AT_ONCE = 16  # lines in one run of the network, which bounds its memory
PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]  # the best first
COLUMNS = ["code", "confidence", "reason"]


# From a picture to what the network takes.


def find_line(picture: np.ndarray) -> cv2.typing.RotatedRect:
    """Return the box (center, sides, angle) of the line of text.

    Without any ink it is the whole picture.
    """
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
    edges = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((3, 3)))
    _, ink = cv2.threshold(edges, 0, 255, cv2.THRESH_OTSU)
    gap = max(3, height // 3)  # px, up to which characters are joined to a line
    # With a border of its own the ink doesn't grow together with the picture's edge.
    bordered = cv2.copyMakeBorder(ink, 0, 0, gap, gap, cv2.BORDER_CONSTANT)
    joined = cv2.morphologyEx(bordered, cv2.MORPH_CLOSE, np.ones((3, gap)))
    joined = joined[:, gap:-gap]
    lines = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((5, 5)))
    contours, _ = cv2.findContours(lines, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return (width / 2, height / 2), (width, height), 0.0
    return cv2.minAreaRect(max(contours, key=cv2.contourArea))


def is_inside(box: cv2.typing.RotatedRect, picture: np.ndarray) -> bool:
    """Return whether there is paper around the box; else a code may be cut off."""
    height, width = picture.shape[:2]
    x, y = cv2.boxPoints(box).T
    paper = PAPER * min(box[1])
    inside_x = x.min() > paper and x.max() < width - 1 - paper
    inside_y = y.min() > paper and y.max() < height - 1 - paper
    return bool(inside_x and inside_y)


def cut_line(picture: np.ndarray, box: cv2.typing.RotatedRect) -> np.ndarray:
    """Return what is in the box, turned level, with a margin."""
    center, sides, angle = box
    margin = MARGIN * min(sides)
    width = round(max(sides) + margin)
    height = round(min(sides) + margin)
    tilt = (angle + 45) % 90 - 45  # degrees, -45 to 45: a label is never turned further
    move = cv2.getRotationMatrix2D(center, tilt, 1)
    move[0, 2] += width / 2 - center[0]
    move[1, 2] += height / 2 - center[1]
    border = cv2.BORDER_REPLICATE
    return cv2.warpAffine(picture, move, (width, height), borderMode=border)


def prepare(line: np.ndarray) -> np.ndarray:
    """Return a line as the network takes it: float32 (3, HEIGHT, WIDTH), -1 to 1.

    Each line is padded to the same width, never to its longest neighbour's: a label's
    answer must not depend on the labels it is sent with.
    """
    height, width = line.shape[:2]
    width = min(WIDTH, max(1, round(width * HEIGHT / height)))
    resized = cv2.resize(line, (width, HEIGHT))
    blue_first = resized[:, :, ::-1] / np.float32(127.5) - 1
    padded = np.zeros((3, HEIGHT, WIDTH), np.float32)
    padded[:, :, :width] = blue_first.transpose(2, 0, 1)
    return padded


# From what the network answers to a code.


def decode(steps: np.ndarray, alphabet: list[str]) -> tuple[str, float]:
    """Return the text, and the probability of its least certain character.

    The network reads from left to right in small steps, each with a probability for
    each character. CTC decoding takes the most probable one, drops repetitions, then
    drops the blank, number 0, which also stands between two equal characters.
    """
    best = steps.argmax(axis=1)
    changes = np.diff(best, prepend=0) != 0
    starts = np.flatnonzero(changes & (best != 0))
    text = "".join(alphabet[number] for number in best[starts])
    probabilities = steps[starts, best[starts]]  # at a character's first step
    return text, float(probabilities.min(initial=1.0))  # 1 for no text


def tell_look_alikes_apart(text: str) -> str:
    """Return the text with O and I among its letters, and 0 and 1 among its digits."""
    letters = text[:LETTERS].replace("0", "O").replace("1", "I")
    digits = text[LETTERS:].replace("O", "0").replace("I", "1")
    return letters + digits


def judge(text: str, confidence: float, inside: bool) -> tuple[str, float, str]:
    """Return the values of COLUMNS: a code, or "unread" with the reason."""
    code = tell_look_alikes_apart(text)
    if not inside:
        return "unread", confidence, "at the border"
    if not PATTERN.fullmatch(code):
        return "unread", confidence, "no code"
    if confidence < BAR:
        return "unread", confidence, "low confidence"
    return code, confidence, "read"


class LabelReader(mlflow.pyfunc.PythonModel):
    """Take the column `image`, a file in each row; answer with COLUMNS, a row each."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Make the session from the weights that were logged with the model.

        A session holds threads and memory of this process, so it is made at each load
        and never stored. Many threads may run it at once.
        """
        options = onnxruntime.SessionOptions()
        # What the driver gives log_model as model_config.
        options.intra_op_num_threads = context.model_config["threads"]
        here = onnxruntime.get_available_providers()
        self.session = onnxruntime.InferenceSession(
            context.artifacts["weights"],
            options,
            providers=[name for name in PROVIDERS if name in here],
        )
        self.alphabet = read_alphabet(self.session)

    def predict(
        self,
        context: mlflow.pyfunc.PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the answers under the input's index; an error names the bad row."""
        answers = []
        for start in range(0, len(model_input), AT_ONCE):
            files = model_input["image"].iloc[start : start + AT_ONCE]
            pictures = [read_row(row, file) for row, file in files.items()]
            answers += self.read(pictures)
        return pd.DataFrame(answers, index=model_input.index, columns=COLUMNS)

    def read(self, pictures: list[np.ndarray]) -> list[tuple[str, float, str]]:
        """Return the values of COLUMNS for each picture, uint8 (height, width, 3)."""
        boxes = [find_line(picture) for picture in pictures]
        lines = map(cut_line, pictures, boxes)
        batch = np.stack([prepare(line) for line in lines])
        name = self.session.get_inputs()[0].name
        (probabilities,) = self.session.run(None, {name: batch})
        answers = []
        for picture, box, steps in zip(pictures, boxes, probabilities, strict=True):
            text, confidence = decode(steps, self.alphabet)
            answers.append(judge(text, confidence, is_inside(box, picture)))
        return answers


# The checks: what is read, and what is refused with a sentence that says what to do.

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
LEAST_SIDE = 12  # pixels
SLIMMEST = 20  # the longer side divided by the shorter one
MOST_PIXELS = 50_000_000
LARGEST = (1600, 1600)  # px; a larger picture is shrunk to this before it is looked at


def read_alphabet(session: onnxruntime.InferenceSession) -> list[str]:
    """Return the character of each output, from the weights' own metadata."""
    listed = session.get_modelmeta().custom_metadata_map.get("character", "")
    # CTC's blank is output 0. The metadata leaves out the last one, the space.
    alphabet = ["", *listed.split("\n"), " "]
    outputs = session.get_outputs()[0].shape[-1]
    if len(alphabet) != outputs:
        raise ValueError(
            f"weights: {outputs} outputs for {len(alphabet)} characters; log weights "
            "of a PP-OCR recognition model that lists its characters in its metadata"
        )
    return alphabet


def read_row(row: Any, file: Any) -> np.ndarray:
    """Return the picture of a row; an error names the row."""
    try:
        return read_picture(file)
    except ValueError as error:
        message = f"column 'image', row {row!r:.80}: {error}"
        raise mlflow.MlflowException.invalid_parameter_value(message) from None


def read_picture(file: Any) -> np.ndarray:
    """Return an image file as uint8 (height, width, 3), red first, turned upright."""
    content = file_bytes(file)
    with decoder_errors(content):
        image = Image.open(BytesIO(content), formats=FORMATS)  # reads the header only
        pages = getattr(image, "n_frames", 1)
    check_header(image, pages)  # outside, or its messages would be replaced
    with decoder_errors(content):
        image.thumbnail(LARGEST)
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@contextmanager
def decoder_errors(content: bytes) -> Iterator[None]:
    """Turn what a decoder raises, errors of all kinds, into one ValueError."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"{len(content)} bytes are not a complete image file ({kind}); "
            f"send {', '.join(FORMATS)}"
        ) from None


def file_bytes(file: Any) -> bytes:
    """Return the bytes of a file that came as bytes, base64 text or a data: URL."""
    content = decode_base64(file) if isinstance(file, str) else file
    if not isinstance(content, bytes | bytearray) or not content:
        raise ValueError("not an image file; send one, as bytes or as base64 text")
    return bytes(content)


def decode_base64(text: str) -> bytes:
    """Return the bytes that the text stands for; none if it is not base64."""
    text = text.rpartition("base64,")[2]  # a data: URL begins with its media type
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return b""


def check_header(image: Image.Image, pages: int) -> None:
    """Refuse a file before its pixels are decoded."""
    width, height = image.size
    shorter = min(image.size)
    longer = max(image.size)
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width * height} pixels; send a picture of at most {MOST_PIXELS}"
        )
    if shorter < LEAST_SIDE or longer > SLIMMEST * shorter:
        raise ValueError(
            f"{width} x {height} px; send at least {LEAST_SIDE} px each way, "
            f"and no side longer than {SLIMMEST} times the other"
        )
    if pages > 1:
        raise ValueError("several pages; send one picture a file")
    if image.mode not in ("L", "RGB") or "transparency" in image.info:
        raise ValueError(
            f"mode {image.mode}; send 8-bit grey or RGB, without transparency"
        )


mlflow.models.set_model(LabelReader())
