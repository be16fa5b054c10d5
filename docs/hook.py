"""MkDocs hook: docs/generate.py writes the pages; here is what only mkdocs needs."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from shared import CookbookError

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority

from docs import agents, generate, pitfalls
from docs.files import OUT, SOURCES

log = logging.getLogger("mkdocs.hooks")
UNTRANSLATED = (
    '<div class="admonition info" lang="zh">'
    '<p class="admonition-title">本页没有中文版，以下为英文。</p></div>'
)


def on_startup(**_: Any) -> None:
    """Write the pages, once for both languages."""
    try:
        generate.main()
    except CookbookError as error:
        raise PluginError(str(error)) from None


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Hand on where the pages are, their navigation and the repository's address."""
    config.repo_url = address = generate.repository()
    if address:  # mkdocs has made a name of the address before, when there was none
        config.repo_name = "/".join(address.rstrip("/").split("/")[-2:])
    log.info("Repository: %s", address or "no link to it, set REPO_URL to its address")
    config.nav = generate.navigation()
    config.docs_dir = str(OUT)
    return config


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """Point the pencil at the file to edit, which lies elsewhere than the page."""
    source = SOURCES.get(page.file.src_uri)
    page.edit_url = (
        f"{config.repo_url}/edit/main/{source}" if config.repo_url and source else None
    )
    if page.url in ("", "./", "zh/"):  # absolute links would break in a subfolder
        for other in config.extra.alternate:
            other["link"] = "./" if other["lang"] == "en" else f"{other['lang']}/"
    return context


def untranslated(page: Any) -> bool:
    """Say whether a page under /zh/ is the English one, for want of a Chinese one."""
    return page.url.startswith("zh/") and not page.file.src_uri.endswith(".zh.md")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Let search find an untranslated page once."""
    if not untranslated(page):
        return html
    page.meta["search"] = {"exclude": True}
    return f"{UNTRANSLATED}{html}"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Name the language that an untranslated page is in."""
    if untranslated(page):
        return output.replace('<html lang="zh"', '<html lang="en"', 1)
    return output


def on_post_template(
    output: str, template_name: str, config: MkDocsConfig, **_: Any
) -> str:
    """Keep the English 404.html, which the Chinese build would write over."""
    is_chinese = config.theme["language"] == "zh"
    return "" if template_name == "404.html" and is_chinese else output


@event_priority(-200)  # after i18n, which builds each language and joins their entries
def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Add what programs read, and give each language a search index of its own."""
    site = Path(config.site_dir)
    shutil.copytree(agents.FOLDER, site, dirs_exist_ok=True)
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
    for prefix, languages in {"": ["en"], "zh/": ["zh"]}.items():
        settings = {**index["config"], "lang": languages}
        text = json.dumps({"config": settings, "docs": docs[prefix]})
        (site / prefix / "search").mkdir(parents=True, exist_ok=True)
        (site / prefix / "search" / file.name).write_text(text, encoding="utf-8")
