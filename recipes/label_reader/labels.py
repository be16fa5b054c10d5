"""Draw labels, each a code in one of several fonts, as a camera would see them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from model_code import read_picture
from PIL import Image, ImageDraw, ImageFont

LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = list("0123456789")
# Settings are chosen on labels in the first fonts and reported on labels in the others.
CHOOSING = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "cmtt10"]
REPORTING = ["Aileron", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol", "cmr10"]
REPORTING += ["cmss10"]
DAMAGES = ["none", "blur", "noise", "tilt", "low contrast", "all"]


@dataclass(frozen=True)
class Label:
    code: str
    font: str
    damage: str
    picture: np.ndarray  # uint8 (height, width, 3), red, green, blue


def make_labels(seed: int, number: int, fonts: list[str]) -> list[Label]:
    """Return drawn labels; the fonts and the damages take turns."""
    rng = np.random.default_rng(seed)
    labels = []
    for at in range(number):
        font = fonts[at % len(fonts)]
        damage = DAMAGES[at // len(fonts) % len(DAMAGES)]
        code = random_code(rng)
        picture = photograph(draw_ink(code, font, rng), damage, rng)
        labels.append(Label(code, font, damage, picture))
    return labels


def random_code(rng: np.random.Generator) -> str:
    letters = "".join(rng.choice(LETTERS, 3))
    return letters + "-" + "".join(rng.choice(DIGITS, 6))


def draw_ink(text: str, font: str, rng: np.random.Generator) -> np.ndarray:
    """Return where the ink is, from 0 to 1, on a piece of paper around the text."""
    size = int(rng.integers(26, 52))  # px, the height of a line
    margins = rng.integers(12, 60, 4)
    typeface = load_font(font, size)
    left, top, right, bottom = (int(edge) for edge in typeface.getbbox(text))
    above, below, before, after = (int(margin) for margin in margins)
    width, height = right - left + before + after, bottom - top + above + below
    image = Image.new("L", (width, height))
    corner = (before - left, above - top)
    ImageDraw.Draw(image).text(corner, text, fill=255, font=typeface)
    return np.asarray(image, np.float32) / 255


def load_font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font that Matplotlib carries, or Pillow's own, Aileron."""
    if name == "Aileron":
        return ImageFont.load_default(size)
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{name}.ttf", size)


def photograph(ink: np.ndarray, damage: str, rng: np.random.Generator) -> np.ndarray:
    """Return the label as a camera sees it, uint8 (height, width, 3)."""
    blur = 0.6  # px, standard deviation
    noise = 4.0  # grey levels, standard deviation
    tilt = 0.0  # degrees
    contrast = rng.uniform(90, 170)  # grey levels between paper and ink
    if damage == "blur":
        blur = rng.uniform(2, 4)
    elif damage == "noise":
        noise = rng.uniform(30, 80)
    elif damage == "tilt":
        tilt = rng.uniform(-12, 12)
    elif damage == "low contrast":
        contrast = rng.uniform(8, 25)
    elif damage == "all":
        blur = rng.uniform(0.6, 2.5)
        noise = rng.uniform(4, 20)
        tilt = rng.uniform(-6, 6)
        contrast = rng.uniform(40, 90)
    spill = round(ink.shape[1] / 2 * np.sin(np.radians(abs(tilt))))
    ink = np.pad(ink, ((spill, spill), (0, 0)))  # a turned line stays inside
    height, width = ink.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1)
    ink = cv2.GaussianBlur(cv2.warpAffine(ink, turn, (width, height)), (0, 0), blur)
    light = rng.uniform(190, 235) + rng.uniform(-1, 1) * np.linspace(-10, 10, width)
    tint = rng.uniform(0.9, 1, 3)
    colours = (light - contrast * ink)[..., None] * tint
    colours += rng.normal(0, noise, colours.shape)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def own_labels(place: Path) -> list[Label]:
    """Return the photographs in the folder `labels` of `place`, if there is one.

    A photograph is named after the code on it: ABC-123456.jpg.
    """
    folder = place / "labels"
    if not folder.is_dir():
        return []
    labels = []
    for file in sorted(folder.iterdir()):
        if not file.name.startswith("."):
            picture = read_photograph(file)
            labels.append(Label(file.stem, "own", "none", picture))
    if not labels:
        raise ValueError(
            f"no photographs in {folder}; put yours there, each named after its code, "
            "or remove the folder"
        )
    return labels


def read_photograph(file: Path) -> np.ndarray:
    """Return one photograph; an error names the file."""
    try:
        return read_picture(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
