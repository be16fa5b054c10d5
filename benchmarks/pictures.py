"""Write the pictures that benchmarks and tests send."""

import io
from typing import Any

from PIL import Image


def picture_file(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return the picture as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()
