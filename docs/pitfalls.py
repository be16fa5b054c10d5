"""The pitfalls, tests/pitfalls/<name>.md: a page for each, and the list of them.

A case has front matter (order, group, title, the error that people search for, fix and
why, all in both languages, issues, and what each way must print), then `## wrong` and
`## right` with files as titled fences. `log.py` and then `load.py` are run, each in a
process of its own, load.py elsewhere; the right way starts from the files of the wrong
one. `make pitfalls` runs them and keeps what they print in output.json.
"""

import difflib
import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_model import read_checks
from shared.recipes import ROOT

import yaml

from benchmarks import report
from docs.files import FENCE, split, translated
from docs.recipe_pages import LANGUAGE

CASES = ROOT / "tests" / "pitfalls"
KEPT = CASES / "output.json"
SWITCHES = CASES / "switches.json"
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
COLON = {"en": ":", "zh": "："}
CHECKS = "guides/check-a-model.md#the-checks"
UPSTREAM = "https://github.com/mlflow/mlflow/issues"
RUN = (
    "Each way was run in a folder of its own. Files that the right way doesn't show "
    "are those of the wrong way."
)
GROUPS = (
    "Deployment",
    "Input and answers",
    "Keys, pickles and configuration",
    "Servers, stores and Spark",
    "Agents and traces",
    "LangChain and LangGraph",
)


@dataclass(frozen=True)
class Pitfall:
    """One case: what is said of it, its two ways and the files of each."""

    name: str
    head: dict[str, Any]
    ways: dict[str, dict[str, str]]

    @property
    def path(self) -> Path:
        return CASES / f"{self.name}.md"

    @property
    def slug(self) -> str:
        """The name of its page, which checks.md gives too."""
        return self.name.replace("_", "-")

    @property
    def error(self) -> str:
        return str(self.head.get("error", "")).strip()

    @property
    def searched(self) -> str:
        """What readers paste: the error, and the last line of its traceback."""
        traceback = kept()["output"][self.name].get("traceback", "")
        return f"{self.error}\n{traceback.rpartition(chr(10))[2]}"

    def text(self, key: str, locale: str) -> str:
        """Return its title, fix or why in that language."""
        return str(self.head[key if locale == "en" else f"{key}_{locale}"]).strip()


def read(name: str) -> Pitfall:
    """Return the case of that name."""
    text = (CASES / f"{name}.md").read_text(encoding="utf-8")
    head, body = split(text)
    wrong, right = body.split("\n## right\n")
    ways = {"wrong": dict(FENCE.findall(wrong)), "right": dict(FENCE.findall(right))}
    return Pitfall(name, head, ways)


@functools.cache
def cases() -> list[Pitfall]:
    """Return all cases, by their `order`."""
    found = [read(path.stem) for path in CASES.glob("[a-z]*.md")]
    return sorted(found, key=lambda case: (case.head["order"], case.name))


@functools.cache
def kept() -> dict[str, Any]:
    """Return what the last run printed, with its date and versions."""
    return dict(json.loads(KEPT.read_text(encoding="utf-8")))


def finders(case: Pitfall) -> list[str]:
    """Return the checks of check-model that name the case."""
    checks = read_checks().items()
    return [name for name, row in checks if case.slug in row[-1].split()]


def digest() -> str:
    """Return the sha256 of what is run, so that prose may change without a run."""
    ways = {case.name: case.ways for case in cases()}
    return hashlib.sha256(json.dumps(ways, sort_keys=True).encode()).hexdigest()


def changed(old: str, new: str) -> str:
    """Return the lines of `new` that `old` doesn't have, as `hl_lines` takes them."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), False)
    spans = [place[3:] for place in matcher.get_opcodes() if place[0] != "equal"]
    return " ".join(f"{first + 1}-{last}" for first, last in spans if first < last)


def fence(title: str, text: str, other: str = "") -> str:
    """Return a file as a fence; lines that the other way lacks are highlighted."""
    language = LANGUAGE.get(Path(title).suffix, "text")
    lines = changed(other, text) if other else ""
    marked = f' hl_lines="{lines}"' if lines else ""
    return f'```{language} title="{title}"{marked}\n{text.strip()}\n```'


def both_ways(case: Pitfall, locale: str) -> list[str]:
    """Return the right way and the wrong one, with what each printed."""
    parts = []
    for way, other in (("right", "wrong"), ("wrong", "right")):
        printed = kept()["output"][case.name][way]
        blocks = [f"**{translated(way.title(), locale)}**"]
        for name, text in case.ways[way].items():
            title = "elsewhere/load.py" if name == "load.py" else name
            blocks.append(fence(title, text, case.ways[other].get(name, "")))
        blocks.append(fence(translated("prints", locale), printed))
        block = "\n\n".join(blocks)
        parts.append(
            f'<div class="{way}" data-search-exclude markdown>\n\n{block}\n\n</div>'
        )
    return parts


def switches(locale: str) -> str:
    """Return what each of MLflow's switches refuses, a column for each version."""
    runs = json.loads(SWITCHES.read_text(encoding="utf-8"))
    rows: dict[str, dict[str, str]] = {}
    for version, run in runs.items():
        for switch, said in run["refused"].items():
            for model, outcome in said.items():
                row = rows.setdefault(model, {"you load": model})
                row[f"`{switch}=false`, MLflow {version}"] = outcome
    dates = ", ".join(
        f"MLflow {version} {run['date']}" for version, run in runs.items()
    )
    table = translated(report.markdown(list(rows.values())), locale)
    return f"{table}\n\n*{translated('Run on', locale)}{COLON[locale]} {dates}*"


def found_by(case: Pitfall, guide: str) -> str:
    """Return the checks that find the case, with a link to all checks."""
    names = ", ".join(f"`{name}`" for name in finders(case))
    return f"[{names}]({guide})" if names else ""


def page(case: Pitfall, locale: str) -> str:
    """Return the case's page: what one sees, the fix, why, both ways."""
    description = LINK.sub(r"\1", case.text("fix", locale)).replace("`", "")
    meta = {"description": description, "hide": ["navigation"]}
    head = yaml.safe_dump(meta, allow_unicode=True)
    colon = COLON[locale]
    parts = [f"---\n{head}---\n# {case.text('title', locale)}"]
    if case.error:
        parts.append(f"```text\n{case.error}\n```")
    fix = case.text("fix", locale)
    parts.append(f"**{translated('Fix', locale)}{colon}** {fix}")
    why = case.text("why", locale)
    parts.append(why.replace("<!-- switches -->", switches(locale)))
    parts += both_ways(case, locale)
    finder = translated("Found by check-model", locale)
    checks = found_by(case, f"../{CHECKS}")
    nobody = translated("No check finds it in a logged model.", locale)
    foot = [translated(RUN, locale)]
    foot.append(f"{finder}{colon} {checks}" if checks else nobody)
    links = [f"[mlflow #{n}]({UPSTREAM}/{n})" for n in case.head.get("issues", [])]
    if links:
        foot.append(f"{translated('Upstream', locale)}{colon} {', '.join(links)}")
    foot.append(f"[{translated('All pitfalls', locale)}](../pitfalls.md)")
    made = report.when(kept(), "make pitfalls", digest())
    foot.append(translated(f"*{made}*", locale))
    block = "\n\n".join(foot)
    parts.append(f"<div data-search-exclude markdown>\n\n{block}\n\n</div>")
    return "\n\n".join(parts)


def contents(locale: str) -> str:
    """Return the list: for each group a table of error, pitfall and check."""
    parts = []
    for group in GROUPS:
        rows = []
        for case in cases():
            if case.head["group"] != group:
                continue
            error = case.error.partition("\n")[0].replace("`", "")
            link = f"[{case.text('title', locale)}](pitfalls/{case.slug}.md)"
            row = {"You see": f"`{error}`" if error else "no error"}
            row["Pitfall"] = f"{link}{{ #{case.slug} }}"  # where its section once was
            rows.append({**row, "check-model": found_by(case, CHECKS)})
        parts.append(f"## {translated(group, locale)}")
        parts.append(translated(report.markdown(rows), locale))
    block = "\n\n".join(parts)
    return f'<div class="pitfalls" data-search-exclude markdown>\n\n{block}\n\n</div>'
