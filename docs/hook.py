"""MkDocs hook: pages are made from docs/, the recipes' files and their last runs.

Before the build, real Markdown files are written to build/docs. Each of these, alone on
a line of a README or a page, is replaced; whatever is missing stops the build:

    <!-- output -->                 and the text fence after it: what the driver printed
    <!-- code: FILE -->             a file of the recipe; folded if long, or no lesson's
    <!-- figure: FILE | ALT -->     an artifact of the run, as a picture
    <!-- metrics -->                the run's metrics
    <!-- bench -->                  the recipe's measurements, or <!-- bench: NAME -->
    <!-- cards: LEVEL -->           the lessons, or the further recipes
    <!-- pitfalls -->               the cases of tests/pitfalls with their kept output
    <!-- built: FILE -->            build/FILE: text as printed, Markdown as it is
    <!-- picture: FILE -->          docs/pictures/FILE (SVG), in the page's colours
    <!-- kept: NAME -->             when and on what docs/pictures/NAME-* were made

docs/recipes/NAME.zh.md is a recipe's page in Chinese; docs/words.zh.yml has the words
of code.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from shared.recipes import ROOT, Recipe, discover

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority

from benchmarks import report
from docs import notebook, pitfalls, recipe_pages
from docs.recipe_pages import DOCS, OUT, picture, read, split, translated

log = logging.getLogger("mkdocs.hooks")
MARK = re.compile(
    r"^<!-- ([\w-]+)(?:: (\S+?))?(?: \| (.*?))? -->$(?:\n```text\n.*?\n```$)?",
    re.M | re.S,
)
JOINED = re.compile(
    r"(?<=[\u3000-\uffef])\n *(?=[\u3000-\uffef]|\[|`(?!``))"
)  # Chinese: no blank
PITFALL = re.compile(r"\bpitfalls\.md#([\w-]+)")  # in the repository there's one file
BEHIND = (
    '!!! warning "英文页已更新"\n    英文页在本页翻译之后有改动，以英文页为准。\n\n'
)
SOURCE: dict[str, str] = {}  # page -> the file to edit


def write(place: str, data: bytes | str, source: Path | None = None) -> None:
    """Write only what changed, so that `mkdocs serve` doesn't rebuild for ever."""
    path, data = OUT / place, data.encode() if isinstance(data, str) else data
    if source:
        SOURCE[place] = source.relative_to(ROOT).as_posix()
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def page(recipe: Recipe, locale: str, source: Path) -> str:
    """Return the page that a recipe's README, or its translation, becomes."""
    head, body = split(source.read_text(encoding="utf-8"))
    body = re.sub(
        r"\]\(\.\./(\w+)/(#[\w-]+)?\)", r"](\1.md\2)", body
    )  # on the site a page
    body = body.replace("](../../docs/", "](../")
    meta = {"description": head["summary"], "search": head.get("search", {})}
    if drawn := re.search(r"^<!-- figure: (\S+)", body, re.M):
        meta["picture"] = f"recipes/{picture(recipe, drawn[1])}"
    english = (recipe.path / "README.md").read_bytes()
    behind = (
        locale != "en" and head["english"] != hashlib.sha256(english).hexdigest()[:12]
    )
    warning = BEHIND if behind else ""
    text = f"# {head['title']}\n\n{warning}{fill(body.strip(), locale, recipe)}"
    return f"---\n{yaml.safe_dump(meta)}---\n{text}{recipe_pages.after(recipe, locale)}"


def fill(text: str, locale: str = "en", recipe: Recipe | None = None) -> str:
    """Replace the markers of a page, or of a recipe's README."""

    def put(mark: re.Match[str]) -> str:
        kind, file, alt = mark.groups()
        match kind, recipe:
            case "output", Recipe():
                said = recipe_pages.printed(recipe)
                return f'```text title="make log RECIPE={recipe.name}"\n{said}\n```'
            case "code", Recipe():
                return recipe_pages.code(recipe, file, locale)
            case "figure", Recipe():
                place = picture(recipe, file)
                return f"[![{alt or file}]({place})]({place})"
            case "metrics", Recipe():
                return recipe_pages.metrics(recipe)
            case "bench", _:
                return report.page(file or (recipe.name if recipe else ""))
            case "cards", _:
                chosen = [
                    r
                    for r in discover()
                    if r.front_matter.get("level", "lesson") == file
                ]
                boxes = "\n\n".join(recipe_pages.card(each, locale) for each in chosen)
                return f'<div class="grid cards" markdown>\n\n{boxes}\n\n</div>'
            case "pitfalls", _:
                return pitfalls.contents(locale)
            case "built", _:
                text = read(ROOT / "build" / file, f"make build/{file}").strip()
                return f"```text\n{text}\n```" if file.endswith(".txt") else text
            case "picture", _:
                drawn = read(DOCS / "pictures" / file, "no such picture")
                return re.sub(r"<style>.*?</style>|\n", "", drawn, flags=re.S)
            case "kept", _:
                kept = json.loads(
                    read(DOCS / "pictures" / f"{file}.json", f"make {file}")
                )
                today = report.digest(kept["measured"])
                return f"*{report.when(kept, f'make {file}', today)}*"
        raise PluginError(
            f"{recipe.name if recipe else locale}: unknown marker {mark[0]!r}"
        )

    text = JOINED.sub("", MARK.sub(lambda mark: translated(put(mark), locale), text))
    return PITFALL.sub(r"pitfalls/\1.md", text)


def repository() -> str | None:
    """Return the repository's address, from a workflow or REPO_URL."""
    if place := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ['GITHUB_SERVER_URL']}/{place}"
    return os.environ.get("REPO_URL")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write build/docs and the navigation, with links to the repository."""
    shutil.rmtree(OUT, ignore_errors=True)
    config.repo_url = repository()
    log.info(
        "Repository: %s",
        config.repo_url or "no link to it, set REPO_URL to its address",
    )
    clone = f"git clone {config.repo_url or '<address>'} cookbook && cd cookbook"
    for source in sorted(DOCS.rglob("*.*")):
        place = source.relative_to(DOCS).as_posix()
        if source.suffix == ".md" and not place.startswith("recipes/"):
            text = source.read_text(encoding="utf-8").replace("<!-- clone -->", clone)
            write(place, fill(text, "zh" if place.endswith(".zh.md") else "en"), source)
        elif source.suffix in {".css", ".js", ".svg", ".webp"}:
            write(place, source.read_bytes())
    for recipe in discover():
        readme, chinese = (
            recipe.path / "README.md",
            DOCS / "recipes" / f"{recipe.name}.zh.md",
        )
        write(f"recipes/{recipe.name}.md", page(recipe, "en", readme), readme)
        if chinese.is_file():
            write(f"recipes/{chinese.name}", page(recipe, "zh", chinese), chinese)
        write(f"downloads/{recipe.name}.ipynb", notebook.made(recipe))
    for case in pitfalls.cases():
        for locale, ending in (("en", ".md"), ("zh", ".zh.md")):
            text = fill(pitfalls.page(case, locale), locale)
            write(f"pitfalls/{case.slug}{ending}", text, case.path)
    for starter in (ROOT / "build" / "starters").glob("*.zip"):
        write(f"downloads/{starter.name}", starter.read_bytes())
    guides = sorted(
        f"guides/{p.name}" for p in DOCS.glob("guides/*.md") if ".zh." not in p.name
    )
    config.nav = [
        {"Home": "index.md"},
        {"What, why, when, how": "story.md"},
        {"Recipes": [f"recipes/{recipe.name}.md" for recipe in discover()]},
        {"Pitfalls": "pitfalls.md"},
        {"Guides": ["ui.md", *guides]},
        {
            "Reference": [
                f"reference/{name}.md" for name in ("make", "shared", "glossary")
            ]
        },
    ]
    config.docs_dir = str(OUT)
    return config


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """Point the pencil at the file to edit, which lies elsewhere than the page."""
    source = SOURCE.get(page.file.src_uri)
    page.edit_url = (
        f"{config.repo_url}/edit/main/{source}" if config.repo_url and source else None
    )
    if page.url in ("", "./", "zh/"):  # absolute links would break in a subfolder
        for other in config.extra.alternate:
            other["link"] = "./" if other["lang"] == "en" else f"{other['lang']}/"
    return context


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Let search find an untranslated page once; drop anchors of lines elsewhere."""
    file = page.file.src_uri
    if page.url.startswith("zh/") and not file.endswith(".zh.md"):
        page.meta["search"] = {"exclude": True}
    return (
        re.sub(r'<a id="__codelineno[^>]*></a>', "", html)
        if "pitfalls" in file
        else html
    )


def on_post_template(
    output: str, template_name: str, config: MkDocsConfig, **_: Any
) -> str:
    """Keep the English 404.html, which the Chinese build would write over."""
    return (
        ""
        if template_name == "404.html" and config.theme["language"] == "zh"
        else output
    )


@event_priority(-200)  # after i18n, which builds each language and joins their entries
def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Give each language a search index of its own: search/ and zh/search/."""
    site = Path(config.site_dir)
    file = site / "search" / "search_index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    docs: dict[str, list[Any]] = {"": [], "zh/": []}
    errors = {f"pitfalls/{case.slug}/": case.searched for case in pitfalls.cases()}
    for entry in index["docs"]:
        prefix = "zh/" if entry["location"].startswith("zh/") else ""
        entry["location"] = entry["location"].removeprefix(prefix)
        if entry["location"].startswith("guides/"):  # before what goes wrong
            entry["boost"] = 1.5 * entry.get("boost", 1)
        if error := errors.get(entry["location"]):
            entry["error"] = error
        docs[prefix].append(entry)
    for prefix, languages in {"": ["en"], "zh/": ["en", "zh"]}.items():
        settings = {**index["config"], "lang": languages}
        text = json.dumps({"config": settings, "docs": docs[prefix]})
        (site / prefix / "search").mkdir(parents=True, exist_ok=True)
        (site / prefix / "search" / file.name).write_text(text, encoding="utf-8")
