"""What pages are made from, and where they are written."""

import re
from pathlib import Path
from typing import Any

from shared import CookbookError
from shared.recipes import ROOT

import yaml

DOCS, OUT = ROOT / "docs", ROOT / "build" / "docs"
CHINESE = yaml.safe_load((DOCS / "words.zh.yml").read_text(encoding="utf-8"))
WORD = re.compile(
    r"(?<=\| )[^|\n]+?(?= \|)|(?<=\*\*)[^*\n]+(?=\*\*)|(?<=>)[^<>\n]+(?=<)"
)
FENCE = re.compile(r'^```\w+ title="(.*?)"\n(.*?)^```$', re.M | re.S)  # name, text
SOURCES: dict[str, str] = {}  # page -> the file to edit


def read(path: Path, remedy: str) -> str:
    """Return the file's text, or stop the build saying how to make what is missing."""
    if not path.is_file():
        raise CookbookError(f"{path.relative_to(ROOT)} is missing: {remedy}")
    return path.read_text(encoding="utf-8")


def write(place: str, data: bytes | str, source: Path | None = None) -> None:
    """Write a file of the site; `source` is the file that a reader would edit."""
    path = OUT / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    if source:
        SOURCES[place] = source.relative_to(ROOT).as_posix()


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return a page's front matter and its body."""
    if not text.startswith("---\n"):
        return {}, text
    head, body = text[4:].split("\n---\n", 1)
    return yaml.safe_load(head), body


def translated(text: str, locale: str) -> str:
    """Return what code has made in the page's language, by docs/words.zh.yml."""
    if locale == "en" or text in CHINESE["words"]:
        return str(text if locale == "en" else CHINESE["words"][text])
    for sentence, chinese in CHINESE["sentences"].items():
        text = re.sub(sentence, chinese, text)
    return WORD.sub(lambda found: CHINESE["words"].get(found[0], found[0]), text)
