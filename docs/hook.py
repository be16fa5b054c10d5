"""MkDocs hook: docs/generate.py writes the pages; here is what only mkdocs needs."""

import logging
import re
from typing import Any

from shared import CookbookError

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

from docs import generate
from docs.files import OUT, SOURCES

LINES = re.compile(r'<a (?:id|href)="#?__codelineno[^>]*>(.*?)</a>')
log = logging.getLogger("mkdocs.hooks")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the pages; hand on the navigation and the repository's address."""
    config.repo_url = address = generate.repository()
    if address:  # mkdocs has made a name of the address before, when there was none
        config.repo_name = "/".join(address.rstrip("/").split("/")[-2:])
    log.info("Repository: %s", address or "no link to it, set REPO_URL to its address")
    try:
        config.nav = generate.main()["navigation"]
    except CookbookError as error:
        raise PluginError(str(error)) from None
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


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Let search find an untranslated page once; drop a long page's line anchors."""
    if page.url.startswith("zh/") and not page.file.src_uri.endswith(".zh.md"):
        page.meta["search"] = {"exclude": True}
    return LINES.sub(r"\1", html) if len(html) > 200_000 else html


def on_post_template(
    output: str, template_name: str, config: MkDocsConfig, **_: Any
) -> str:
    """Keep the English 404.html, which the Chinese build would write over."""
    return (
        ""
        if template_name == "404.html" and config.theme["language"] == "zh"
        else output
    )
