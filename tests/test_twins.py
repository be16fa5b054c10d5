"""A page in Chinese has the parts of the English page, and is of its text of today."""

import ast
import hashlib
import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from shared.recipes import ROOT, find

import pytest
import yaml

FENCE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
CHINESE = re.compile(r"[\u3000-\uffef].*")
TWINS = sorted((ROOT / "docs").rglob("*.zh.md"))


def english_of(twin: Path) -> Path:
    name = twin.name.removesuffix(".zh.md")
    if twin.parent.name == "recipes":
        return find(name).path / "README.md"
    return twin.with_name(f"{name}.md")


def anchor(title: str) -> str:
    """Return the id that a heading gets on the site."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def block(text: str) -> str:
    """Return what a block of a page shares with its translation."""
    first, lines = text.splitlines()[0], text.splitlines()
    if first.startswith("# "):
        return "# the title"
    if heading := re.match(r"(#+) (.*?)(?: \{(?: #([\w-]+))?[^}]*\})?$", first):
        return f"{heading[1]} {heading[3] or anchor(heading[2])}"
    if first.startswith("<!-- "):
        return first.removesuffix(" -->").partition(" | ")[0]
    if first.startswith("--8<--"):
        return first.replace(".zh.md", ".md")
    if first.startswith("|"):
        cells = len(re.findall(r"(?<!\\)\|", first)) - 1
        return f"table, {len(lines)} lines of {cells}"
    if re.match(r"- |\d+\. ", first):
        items = re.findall(r"^ *(?:-|\d+\.) ", text, re.M)
        return f"list of {len(items)}"
    return first.split()[0] if first[:3] in ("!!!", "???", "===") else "paragraph"


def parts(text: str) -> dict[str, list[str]]:
    """Return a page as its blocks, its code by lines, and where its links lead."""
    hashed = r"\A---\n.*?\n---\n|^\[//\]: # [^\n]*$"  # the latter in a snippet
    body = re.sub(hashed, "", text, flags=re.M | re.S)
    body = body.replace("](../../docs/", "](../")
    body = re.sub(r"^(<!-- output -->)\n```.*?^```$", r"\1", body, flags=re.M | re.S)
    prose = FENCE.sub("\n\n``` \n\n", body)
    return {
        "blocks": [block(each) for each in re.split(r"\n\s*\n", prose) if each.strip()],
        "code": "\n".join(FENCE.findall(body)).splitlines(),
        "links": sorted(re.findall(r"\]\((.*?)\)", prose)),
    }


def as_in_english(line: str, english: str) -> str:
    """Return the English line if the Chinese one begins as it does."""
    start = CHINESE.sub("", line)
    return english if start != line and english.startswith(start) else line


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_twin_has_the_parts_of_the_english_page_of_today(twin):
    source = english_of(twin)
    english = parts(source.read_text(encoding="utf-8"))
    chinese = parts(twin.read_text(encoding="utf-8"))
    assert chinese["blocks"] == english["blocks"]
    assert chinese["links"] == english["links"]
    assert len(chinese["code"]) == len(english["code"])
    code = map(as_in_english, chinese["code"], english["code"])
    assert list(code) == english["code"]
    today = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    marked = f"english: {today}" in twin.read_text(encoding="utf-8")
    assert marked, f"translate what changed, then set english: {today}"


def strings(value: Any) -> set[str]:
    """Return the texts in what a JSON file holds, keys too."""
    if isinstance(value, dict):
        return strings([*value, *value.values()])
    if isinstance(value, list):
        return set().union(*map(strings, value))
    return {value} if isinstance(value, str) else set()


def test_each_word_in_Chinese_is_there_once_and_used():
    """It is in a table, in a drawing or in the code that makes the pages."""
    text = (ROOT / "docs/words.zh.yml").read_text("utf-8")
    (words,) = (node for key, node in yaml.compose(text).value if key.value == "words")
    keys = [key.value for key, _ in words.value]
    used = {"Wrong", "Right", "not run"}  # no recipe lacks a run today
    tables = ROOT.glob("benchmarks/results/*.json")
    for path in [*tables, ROOT / "tests/pitfalls/switches.json"]:
        used |= strings(json.loads(path.read_text("utf-8")))
    for path in ROOT.glob("docs/*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        used |= {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    for path in ROOT.glob("docs/pictures/*.svg"):
        used |= set(re.split(r'[<>"\n]', html.unescape(path.read_text("utf-8"))))
    used |= set(
        re.split(r" \| |\n", (ROOT / "check_model/checks.md").read_text("utf-8"))
    )
    used |= {word.replace("`", "") for word in used}  # as in a chart
    assert [key for key, number in Counter(keys).items() if number > 1] == []
    assert [key for key in keys if html.unescape(key) not in used] == []
