"""The picture that a link to a page shows elsewhere: PNG, 1200 x 630."""

import io
import textwrap
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

SIZE, EDGE = (1200, 630), 60
TEAL, INK, GREY = "#00695c", "#1c1c1c", "#555555"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def card(title: str, summary: str, shown: Image.Image | str) -> bytes:
    """Return the card: title, summary, and a picture or what was printed."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIZE[0], 16), TEAL)

    def write(y: int, text: str, font: str, size: int, colour: str) -> int:
        face = ImageFont.truetype(FONTS / f"{font}.ttf", size)
        draw.multiline_text((EDGE, y), text, colour, face, spacing=size // 4)
        return y + (text.count("\n") + 1) * size * 5 // 4

    y = write(44, "MLflow models from code", "DejaVuSans", 26, TEAL)
    y = write(y + 8, textwrap.fill(title, 32), "DejaVuSans-Bold", 54, INK)
    y = write(y + 12, textwrap.fill(summary, 68), "DejaVuSans", 27, GREY) + 24
    if isinstance(shown, str):
        size = (SIZE[0] - EDGE) * 5 // 3 // max(map(len, shown.splitlines()))
        write(y, shown, "DejaVuSansMono", min(34, size), INK)
    else:
        picture = shown.convert("RGB")
        picture = ImageOps.contain(picture, (SIZE[0] - 2 * EDGE, SIZE[1] - y - 30))
        image.paste(picture, ((SIZE[0] - picture.width) // 2, y))
    image.quantize(64).save(data := io.BytesIO(), "png", optimize=True)
    return data.getvalue()
