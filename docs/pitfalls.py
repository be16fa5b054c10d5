"""The pitfalls, tests/pitfalls/<name>.md: a wrong and a right way, and their output.

A case has front matter (title, the error that people search for, said, both in Chinese,
issues, and what each way must print), then `## wrong` and `## right` with files as
titled fences. `log.py` and then `load.py` are run, each in a process of its own,
load.py elsewhere; the right way starts from the files of the wrong one. `make pitfalls`
runs them and keeps what they print in output.json.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared import check
from shared.recipes import ROOT

import yaml

from benchmarks import report
from docs.files import translated
from docs.recipe_pages import LANGUAGE

CASES = ROOT / "tests" / "pitfalls"
KEPT = CASES / "output.json"
FENCE = re.compile(r'^```\w+ title="(.*?)"\n(.*?)^```$', re.M | re.S)


@dataclass(frozen=True)
class Pitfall:
    """One case: what is said of it, its two ways and the files of each."""

    name: str
    head: dict[str, Any]
    ways: dict[str, dict[str, str]]


def read(name: str) -> Pitfall:
    """Return the case of that name."""
    text = (CASES / f"{name}.md").read_text(encoding="utf-8")
    head, body = text[4:].split("\n---\n", 1)
    wrong, right = body.split("\n## right\n")
    ways = {"wrong": dict(FENCE.findall(wrong)), "right": dict(FENCE.findall(right))}
    return Pitfall(name, yaml.safe_load(head), ways)


def cases() -> list[Pitfall]:
    """Return all cases, by their `order`."""
    found = [read(path.stem) for path in CASES.glob("[a-z]*.md")]
    return sorted(found, key=lambda case: (case.head["order"], case.name))


def finders(case: Pitfall) -> list[str]:
    """Return the checks of check-model that name the case."""
    anchor = case.name.replace("_", "-")
    return [name for name, row in check.table().items() if anchor in row[3].split()]


def digest() -> str:
    """Return the sha256 of what is run, so that prose may change without a run."""
    ways = {case.name: case.ways for case in cases()}
    return hashlib.sha256(json.dumps(ways, sort_keys=True).encode()).hexdigest()


def fence(title: str, text: str) -> str:
    language = LANGUAGE.get(Path(title).suffix, "text")
    return f'```{language} title="{title}"\n{text.strip()}\n```'


def page(locale: str) -> str:
    """Return the cases: a table of them with what is seen, then a section for each."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    guide = "guides/check-a-model.md"
    suffix = "" if locale == "en" else f"_{locale}"
    seen, parts = [], []
    for case in cases():
        head = case.head
        error = head.get("error", "").partition("\n")[0].replace("`", "")
        link = f"[{head[f'title{suffix}']}](#{case.name.replace('_', '-')})"
        seen.append(
            {"What it is": link, "You see": f"`{error}`" if error else "no error"}
        )
        parts.append(
            f"## {head[f'title{suffix}']} {{ #{case.name.replace('_', '-')} }}"
        )
        parts += [f"```text\n{head['error'].strip()}\n```"] if head.get("error") else []
        parts.append(head[f"said{suffix}"].strip())
        for way in ("wrong", "right"):
            blocks = [fence(name, text) for name, text in case.ways[way].items()]
            blocks.append(
                fence(translated("prints", locale), kept["output"][case.name][way])
            )
            block = "\n\n".join([f"**{translated(way.title(), locale)}**", *blocks])
            parts.append(f'<div class="{way}" markdown>\n\n{block}\n\n</div>')
        checks = [f"`{name}`" for name in finders(case)]
        finder = f"[check-model]({guide}): {', '.join(checks)}"
        nobody = "No check finds it in a logged model."
        parts.append(
            f"{translated('Found by', locale)} {finder}"
            if checks
            else translated(nobody, locale)
        )
        upstream = "https://github.com/mlflow/mlflow/issues"
        links = [f"[mlflow #{n}]({upstream}/{n})" for n in head.get("issues", [])]
        parts += (
            [f"{translated('Upstream', locale)}: {', '.join(links)}"] if links else []
        )
    table = f"<div data-search-exclude markdown>\n\n{report.markdown(seen)}\n\n</div>"
    made = f"{table}\n\n*{report.when(kept, 'make pitfalls', digest())}*"
    return "\n\n".join([translated(made, locale), *parts])
