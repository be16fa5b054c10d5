"""What programs read of the site: each page as Markdown, llms.txt, a skill, a feed.

All goes to build/for-programs, which is copied into the built site: in build/docs,
mkdocs would take the Markdown for pages.
"""

import os
import re
import shutil
import textwrap
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.recipes import ROOT

import markdown

from docs.files import OUT, split

FOLDER = ROOT / "build" / "for-programs"
SITE = os.environ.get("SITE_URL", "http://127.0.0.1:8000/")
SKILL = "skills/mlflow-models-from-code/SKILL.md"
TITLE = "MLflow models from code"
FEED = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<title>{0}: changes</title><author><name>{0}</name></author>
<id>{1}</id><link href="{1}"/><updated>{2}T00:00:00Z</updated>
{3}</feed>
"""
ENTRY = """<entry><title>{0}</title><id>{1}#{2}</id><link href="{1}"/>
<updated>{2}T00:00:00Z</updated><content type="html">{3}</content></entry>
"""
BLOCK = re.compile(r'^(?:\?\?\?\+?|!!!) [\w -]+ "(.*)"\n((?:\n| {4}.*\n?)+)', re.M)


def write(navigation: list[dict[str, Any]]) -> None:
    """Write all of it, from the pages in build/docs."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    texts = {str(page.relative_to(OUT)): twin(page) for page in OUT.rglob("*.md")}
    texts |= {"llms.txt": llms(navigation), SKILL: skill(), "changes.atom": feed()}
    for place, text in texts.items():
        path = FOLDER / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def twin(page: Path) -> str:
    """Return a page as plain Markdown, without what only mkdocs understands."""
    head, text = split(page.read_text("utf-8"))
    text = BLOCK.sub(lambda m: f"**{m[1]}**\n{textwrap.dedent(m[2])}", text)
    text = re.sub(r'<svg [^>]*"narrow".*?</svg>', "", text, flags=re.S)
    text = re.sub(r"<svg.*?<title.*?>(.*?)</title>.*?</svg>", r"*\1*", text, flags=re.S)
    text = re.sub(r"^(</?div.*?>|<figure.*?</figure>)(\n|$)", "", text, flags=re.M)
    text = re.sub(r"^::: (\S+)$", lambda m: reference(m[1]), text, flags=re.M)
    text = re.sub(
        r' (linenums|hl_lines)=".*?"|(?<=\))\{ .*? \}| \{ #.*? \}$',
        "",
        text,
        flags=re.M,
    )
    described = f"\n\n> {head['description']}\n" if head.get("description") else "\n"
    return re.sub(r"^(# .*)\n", lambda m: m[1] + described, text, count=1, flags=re.M)


def reference(module: str) -> str:
    return f"## {module}\n\n{import_module(module).__doc__}"


def llms(navigation: list[dict[str, Any]]) -> str:
    """Return the list of pages, as https://llmstxt.org describes it."""
    lines = [f"# {TITLE}\n\n> {about('index.md')[1]}\n"]
    lines.append(f"The rules in one page, with a template: {SITE}{SKILL}\n")
    cases = [f"pitfalls/{path.name}" for path in sorted(OUT.glob("pitfalls/*.md"))]
    each = {"Each pitfall": [case for case in cases if not case.endswith(".zh.md")]}
    for section in [*navigation, each]:
        for title, pages in section.items():
            lines.append(f"## {title}\n")
            for page in flat(pages):
                heading, described = about(page)
                lines.append(f"- [{heading}]({SITE}{page}): {described}")
            lines.append("")
    return "\n".join(lines)


def flat(pages: Any) -> list[str]:
    """Return the pages of a section and of the sections within it."""
    if isinstance(pages, str):
        return [pages]
    parts = pages.values() if isinstance(pages, dict) else pages
    return [page for part in parts for page in flat(part)]


def about(page: str) -> tuple[str, str]:
    """Return a page's heading and its description."""
    head, text = split((OUT / page).read_text("utf-8"))
    return text.split("# ", 1)[1].partition("\n")[0], head["description"]


def skill() -> str:
    """Return SKILL.md with links to the site in place of links in the repository."""
    text = (ROOT / SKILL).read_text("utf-8")
    text = re.sub(r"\.\./\.\./tests/pitfalls/(\w+)\.md", pitfall, text)
    return text.replace("../../docs/", SITE)


def pitfall(link: re.Match[str]) -> str:
    return f"{SITE}pitfalls/{link[1].replace('_', '-')}.md"


def feed() -> str:
    """Return the changelog as an Atom feed, an entry for each of its dates."""
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    dated = re.findall(r"^## (([\d-]+).*)\n((?:(?!## ).*\n)+)", changes, re.M)
    entries = "".join(ENTRY.format(*entry(*each)) for each in dated)
    return FEED.format(TITLE, f"{SITE}changes/", dated[0][1], entries)


def entry(title: str, date: str, text: str) -> tuple[str, ...]:
    text = text.replace("](docs/", f"]({SITE}")
    return escape(title), f"{SITE}changes/", date, escape(markdown.markdown(text))
