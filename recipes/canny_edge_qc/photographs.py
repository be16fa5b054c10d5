"""Find and read your own photographs: folders `good` and `bad` beside the driver."""

from collections import Counter
from pathlib import Path

import numpy as np
from model_code import check_picture, read_grey
from parts import Parts

ENDINGS = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
LEAST_GOOD = 24  # each fifth is scored by a calibration on the others: 19 at least


def own_parts(place: Path) -> Parts | None:
    """Return the parts photographed in `place`; None if there is no folder for them."""
    good_folders = folders_named(place, "good")
    bad_folders = folders_named(place, "bad")
    if not good_folders and not bad_folders:
        return None
    if not good_folders:
        raise ValueError(
            f"{bad_folders[0]} is there, but no folder good beside it; "
            f"put photographs of {LEAST_GOOD} good parts there"
        )
    good = read_photographs(good_folders)
    if len(good) < LEAST_GOOD:
        raise ValueError(
            f"{len(good)} photographs in {good_folders[0]}; put at least {LEAST_GOOD} "
            f"there, better 60, as {', '.join(sorted(ENDINGS))}"
        )
    bad = read_photographs(bad_folders)
    if bad_folders and not bad:
        raise ValueError(
            f"no photographs in {bad_folders[0]}; put those of bad parts there, "
            "or remove the folder"
        )
    return Parts(golden=good, good=[], bad=[("bad", picture) for picture in bad])


def folders_named(place: Path, name: str) -> list[Path]:
    """Return the folders of that name, in small or capital letters."""
    folders = sorted(path for path in place.iterdir() if path.is_dir())
    return [folder for folder in folders if folder.name.lower() == name]


def read_photographs(folders: list[Path]) -> list[np.ndarray]:
    """Read all photographs in the folders, at any depth, and print where they are."""
    pictures = []
    places: Counter[Path] = Counter()
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in ENDINGS or file.name.startswith("."):
                continue
            pictures.append(read_photograph(file))
            places[file.parent] += 1
    for place, number in places.items():
        print(f"{number} photographs in {place}")
    return pictures


def read_photograph(file: Path) -> np.ndarray:
    """Return one photograph as grey levels; an error names the file."""
    try:
        grey = read_grey(file.read_bytes())
        check_picture(grey)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return grey
