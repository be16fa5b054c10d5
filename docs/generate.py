"""Write the site's pages as Markdown to build/docs.

python -m docs.generate  needs no mkdocs; docs/hook.py does the same before it starts

Pages come from docs/**/*.md and the recipes' READMEs. Each of these, alone on a line of
them, is replaced; whatever is missing stops the build:

    <!-- output -->                 and the text fence after it: what the driver printed
    <!-- code: FILE -->             a file of the recipe; folded if long, or no lesson's
    <!-- figure: FILE | ALT -->     an artifact of the run, as a picture
    <!-- metrics -->                the run's metrics
    <!-- bench -->                  the recipe's measurements, or <!-- bench: NAME -->,
                                    or one table of them, <!-- bench: NAME | TITLE -->
    <!-- cards: LEVEL -->           the lessons, or the further recipes
    <!-- pitfalls -->               the cases of tests/pitfalls with their kept output
    <!-- built: FILE -->            build/FILE: text as printed, Markdown as it is
    <!-- picture: FILE -->          docs/pictures/FILE (SVG), in the page's colours
    <!-- clone -->                  anywhere: the commands that clone the repository
    <!-- address -->                anywhere: the repository's address
    --8<-- "FILE"                   a file of the repository

docs/recipes/NAME.zh.md is a recipe's page in Chinese; docs/words.zh.yml has the words
of code.
"""

import hashlib
import os
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

from shared import CookbookError
from shared.recipes import ROOT, Recipe, discover

import yaml
from PIL import Image

from benchmarks import report
from docs import agents, pitfalls, recipe_pages
from docs.call import call
from docs.charts import charts
from docs.files import DOCS, OUT, SOURCES, read, split, translated, write
from docs.preview import card

GUIDES = {
    "Begin": "which-way from-an-object copy-a-recipe",
    "Write and test": "config prompts private-packages test check-a-model ci",
    "Ship": "serve registry webhook in-production isolated team-server spark speed",
    "Look inside": "what-is-in-an-artifact mlflow-versions upgrade",
    "This cookbook": "add-a-recipe what-was-tried",
}
MARK = re.compile(
    r"^<!-- ([\w-]+)(?:: (\S+?))?(?: \| (.*?))? -->$(?:\n```text\n.*?\n```$)?",
    re.M | re.S,
)
SNIPPET = re.compile(r'^( *)--8<-- "(.+)"$', re.M)
# Chinese has no blank where a line ends.
JOINED = re.compile(r"(?<=[\u3000-\uffef])\n *(?=[\u3000-\uffef]|\[|`(?!``))")
PITFALL = re.compile(r"\bpitfalls\.md#([\w-]+)")  # in the repository there's one file
BEHIND = (
    '!!! warning "英文页已更新"\n    英文页在本页翻译之后有改动，以英文页为准。\n\n'
)


def main() -> None:
    """Write all pages, and what programs read of them."""
    shutil.rmtree(OUT, ignore_errors=True)
    SOURCES.clear()
    write_pages()
    for recipe in discover():
        write_recipe(recipe)
    write_pitfalls()
    write_changes()
    agents.write(navigation())


def write_pages() -> None:
    """Write the pages, styles and pictures under docs/."""
    address = repository() or "<address>"
    clone = f"git clone {address} cookbook && cd cookbook"
    for source in sorted(DOCS.rglob("*.*")):
        place = source.relative_to(DOCS).as_posix()
        if source.suffix in {".css", ".js", ".svg", ".webp"}:
            write(place, source.read_bytes())
        if source.suffix != ".md" or place.startswith(("recipes/", "snippets/")):
            continue
        text = source.read_text(encoding="utf-8").replace("<!-- clone -->", clone)
        text = text.replace("<!-- address -->", address)
        locale = "zh" if place.endswith(".zh.md") else "en"
        if locale == "zh":
            english = source.with_name(source.name.replace(".zh.md", ".md"))
            title = rf"\g<0>\n{behind(text, english)}"
            text = re.sub(r"^# .*\n", title, text, count=1, flags=re.M)
        write(place, fill(text, locale), source)
    home = split((DOCS / "index.md").read_text(encoding="utf-8"))[0]
    drawing = Image.open(DOCS / "pictures" / "workflow.webp")
    write(
        "previews/home.png", card("Models that are code", home["description"], drawing)
    )


def write_recipe(recipe: Recipe) -> None:
    """Write a recipe's page, in Chinese too if there is one, and its downloads."""
    readme = recipe.path / "README.md"
    write(f"recipes/{recipe.name}.md", recipe_page(recipe, "en", readme), readme)
    chinese = DOCS / "recipes" / f"{recipe.name}.zh.md"
    if chinese.is_file():
        write(f"recipes/{chinese.name}", recipe_page(recipe, "zh", chinese), chinese)
    starter = ROOT / "build" / "starters" / f"{recipe.name}.zip"
    if starter.is_file():
        write(f"downloads/{starter.name}", starter.read_bytes())
    write(f"downloads/{recipe.name}.ipynb", recipe_pages.notebook(recipe))
    write(f"previews/{recipe.name}.png", recipe_pages.preview_card(recipe))


def write_pitfalls() -> None:
    """Write a page for each pitfall."""
    for case in pitfalls.cases():
        for locale, ending in (("en", ".md"), ("zh", ".zh.md")):
            text = fill(pitfalls.page(case, locale), locale)
            write(f"pitfalls/{case.slug}{ending}", text, case.path)


def write_changes() -> None:
    """Write CHANGELOG.md as a page."""
    source = ROOT / "CHANGELOG.md"
    about = "What changed in the recipes, the tools and the pages, with which MLflow."
    text = source.read_text(encoding="utf-8").replace("](docs/", "](")
    write("changes.md", f"---\ndescription: {about}\n---\n{text}", source)


def recipe_page(recipe: Recipe, locale: str, source: Path) -> str:
    """Return the page that a recipe's README, or its translation, becomes."""
    text = source.read_text(encoding="utf-8")
    head, body = split(text)
    # On the site another recipe is a page.
    body = re.sub(r"\]\(\.\./(\w+)/(#[\w-]+)?\)", r"](\1.md\2)", body)
    body = body.replace("](../../docs/", "](../")
    meta = {"description": head["summary"], "search": head.get("search", {})}
    meta["picture"] = f"previews/{recipe.name}.png"
    warning = behind(text, recipe.path / "README.md") if locale == "zh" else ""
    parts = [
        f"# {head['title']}",
        warning + recipe_pages.top(recipe, head, locale),
        fill(call(recipe, body.strip(), locale), locale, recipe),
        recipe_pages.foot(recipe, locale),
    ]
    return f"---\n{yaml.safe_dump(meta)}---\n" + "\n\n".join(parts) + "\n"


def behind(text: str, english: Path) -> str:
    """Return a warning if a translation is of another text than today's."""
    today = hashlib.sha256(english.read_bytes()).hexdigest()[:12]
    return "" if f"\nenglish: {today}\n" in text else BEHIND


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
                place = recipe_pages.picture(recipe, file)
                return f"[![{alt or file}]({place})]({place})"
            case "metrics", Recipe():
                return recipe_pages.metrics(recipe)
            case "bench", _:
                name = file or (recipe.name if recipe else "")
                return report.page(name, charts(name, locale), alt)
            case "cards", _:
                return recipe_pages.cards(file, locale)
            case "pitfalls", _:
                return pitfalls.contents(locale)
            case "built", _:
                text = read(ROOT / "build" / file, f"make build/{file}").strip()
                return f"```text\n{text}\n```" if file.endswith(".txt") else text
            case "picture", _:
                drawn = read(DOCS / "pictures" / file, "no such picture")
                return re.sub(r"<style>.*?</style>|\n", "", drawn, flags=re.S)
        page = recipe.name if recipe else locale
        raise CookbookError(f"{page}: unknown marker {mark[0]!r}")

    text = SNIPPET.sub(lambda mark: snippet(ROOT / mark[2], indent=mark[1]), text)
    text = JOINED.sub("", MARK.sub(lambda mark: translated(put(mark), locale), text))
    return PITFALL.sub(r"pitfalls/\1.md", text)


def snippet(path: Path, indent: str) -> str:
    """Return a file as it stands in a page, in a block or not."""
    return textwrap.indent(read(path, "no such file"), indent)


def navigation() -> list[dict[str, Any]]:
    """Return the titles in the site's header, and their pages."""
    groups = {
        title: [f"guides/{name}.md" for name in names.split()]
        for title, names in GUIDES.items()
    }
    written = {
        f"guides/{path.name}"
        for path in DOCS.glob("guides/*.md")
        if ".zh." not in path.name
    }
    if missing := written.difference(*groups.values()):
        raise CookbookError(f"GUIDES in docs/generate.py lacks {', '.join(missing)}")
    groups["Look inside"].append("ui.md")
    return [
        {"Home": "index.md"},
        {"What, why, when, how": "story.md"},
        {"Recipes": [f"recipes/{recipe.name}.md" for recipe in discover()]},
        {"Pitfalls": "pitfalls.md"},
        {"Guides": [{title: pages} for title, pages in groups.items()]},
        {
            "Reference": [
                "reference/make.md",
                {"shared and check_model": "reference/shared.md"},
                "reference/glossary.md",
                {"Changes": "changes.md"},
            ]
        },
    ]


def repository() -> str | None:
    """Return the repository's address, from a workflow or REPO_URL."""
    if place := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ['GITHUB_SERVER_URL']}/{place}"
    return os.environ.get("REPO_URL")


if __name__ == "__main__":
    main()
