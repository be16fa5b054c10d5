"""`make test-docs`: each page in a real browser, light and dark, wide and narrow."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

from shared import CookbookError
from shared.recipes import ROOT, discover, find

import axe_playwright_python
import pytest
from PIL import Image

from docs import charts, recipe_pages
from docs.generate import fill
from docs.recipe_pages import reasons
from tests.site.conftest import SITE, pages

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
# Each kind of word in code is looked at once: a page has thousands, and they differ by
# class alone. What is right is not written out, which would take most of axe's time.
WCAG = """(() => {
    const seen = new Set();
    const words = ".highlight :is(code, .linenodiv) :is(span, a)";
    for (const word of document.querySelectorAll(words)) {
        const around = word.closest(".wrong, .right, details")?.className;
        const kind = [around, word.localName, word.className].join();
        const again = seen.size === seen.add(kind).size;
        if (!word.children.length && again) word.dataset.again = "";
    }
    return axe.run({exclude: ["[data-again]"]}, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
        resultTypes: ["violations"], selectors: false, preload: false,
    }).then((said) => said.violations.map(
        ({id, nodes}) => [
            id, nodes.length, nodes.slice(0, 3).map((n) => n.html.slice(0, 200))
        ]
    ));
})()"""
SIZES = {
    "wide": {"width": 1440, "height": 900},
    "narrow": {"width": 390, "height": 844},
}
LOOKS = [(scheme, size) for scheme in ("default", "slate") for size in SIZES]


@pytest.mark.parametrize("page", [*pages(), "/404.html"])
def test_page(tab, base, page):
    wrong = []
    tab.emulate_media(reduced_motion="reduce")
    tab.goto(urljoin(base, page.lstrip("/")), wait_until="load")
    tab.evaluate(f"{AXE.read_text(encoding='utf-8')}; null")
    alike = "pitfalls/" in page and not page.endswith("pitfalls/")  # a hundred pages
    for scheme, size in LOOKS[:: 3 if alike else 1]:
        tab.evaluate(
            f"document.querySelector('[data-md-color-scheme={scheme}]').click()"
        )
        tab.set_viewport_size(SIZES[size])
        tab.wait_for_function("document.body.dataset.settled == innerWidth")
        # Colours change slowly.
        tab.wait_for_function("document.getAnimations().length === 0")
        over = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
        wrong += [(scheme, size, f"{over} px too wide")] if over > 0 else []
        wrong += [(scheme, size, *found) for found in tab.evaluate(WCAG)]
        assert tab.evaluate("document.body.dataset.mdColorScheme") == scheme
    assert wrong + tab.wrong == []
    assert tab.locator("h1").count() == 1


def test_links_and_anchors():
    """Links lead to files, anchors to ids, and no asset is elsewhere."""
    ids, broken = {}, []
    for path in SITE.rglob("*.html"):
        ids[path] = set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))
    for path in ids:
        text = path.read_text(encoding="utf-8")
        if path.name == "404.html":
            continue
        for tag, link in re.findall(r'<(\w+)[^>]*?\s(?:href|src)="([^"]+)"', text):
            url = urlparse(link)
            if url.scheme in ("http", "https", "data"):
                if tag in ("script", "img") or (tag == "link" and "stylesheet" in link):
                    page = path.relative_to(SITE)
                    broken.append(f"{page}: {link} is on another host")
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(url.fragment)
            has_anchor = not anchor or target not in ids or anchor in ids[target]
            if not target.is_file() or not has_anchor:
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


def test_copy_button_copies_what_is_shown(tab, base):
    tab.goto(urljoin(base, "recipes/circle_area/"), wait_until="load")
    block = tab.locator(".highlight", has_text="This file is the model").first
    tab.evaluate("navigator.clipboard.writeText('')")
    block.hover()
    block.locator("button.md-clipboard, button[data-md-type=copy]").first.click()
    tab.wait_for_function("navigator.clipboard.readText().then(Boolean)")
    copied = tab.evaluate("navigator.clipboard.readText()")
    source = find("circle_area").path / "model_code.py"
    assert copied.strip() == source.read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("recipe", discover(), ids=lambda recipe: recipe.name)
def test_recipe_page(tab, base, recipe):
    """Downloads and the last run on top; request and answer beside each other."""
    tab.set_viewport_size(SIZES["wide"])
    tab.goto(urljoin(base, f"recipes/{recipe.name}/"), wait_until="load")
    assert tab.locator(f"a[href$='/edit/main/recipes/{recipe.name}/README.md']").count()
    top = tab.locator(".top")
    assert re.search(r"Last run with MLflow 3\S+ on 20\S+: green", top.inner_text())
    for kind in ("zip", "ipynb"):
        link = top.locator(f"a[href$='{recipe.name}.{kind}']").get_attribute("href")
        assert (SITE / "downloads" / link.rpartition("/")[2]).is_file()
    both = tab.locator(".grid > .highlight")
    request, answer = both.nth(0).bounding_box(), both.nth(1).bounding_box()
    assert request["y"] == answer["y"] and request["x"] < answer["x"]
    tab.set_viewport_size(SIZES["narrow"])
    assert both.nth(0).bounding_box()["y"] < both.nth(1).bounding_box()["y"]
    tabs = tab.locator(".tabbed-set:has(+ .grid)")
    assert tabs.locator(".tabbed-labels > label").all_inner_texts() == [
        "curl",
        "Python",
    ]
    tabs.get_by_text("Python", exact=True).click()
    assert tabs.locator("pre", has_text="import requests").is_visible()


def test_a_chart_says_what_its_table_says(monkeypatch):
    (drawn,) = charts.charts("clv_composite", "en").values()
    assert drawn.count("<svg x=") == 30 and 'aria-label="Error of the total' in drawn
    monkeypatch.setitem(
        charts.SPECS["clv_composite"]["Error of the total at each cutoff"],
        "holds",
        't["composite (%)"].max() < 0',
    )
    with pytest.raises(CookbookError, match="the sentence doesn't hold"):
        charts.charts("clv_composite", "en")


def test_what_a_search_engine_reads():
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    assert sitemap.count("<loc>") >= len(pages()) // 2
    for page in pages():
        text = (SITE / page.lstrip("/") / "index.html").read_text(encoding="utf-8")
        for tag in ('name="description"', 'rel="canonical"'):
            assert tag in text, f"{page}: {tag}"
        (card,) = re.findall(r'property="og:image" content=".*?/(previews/.*?)"', text)
        with Image.open(SITE / card) as picture:
            assert (picture.format, *picture.size) == ("PNG", 1200, 630), page
        named = re.findall(r'md-source__repository">\s*(.*?)\s*<', text)
        assert {*named} == {os.environ["GITHUB_REPOSITORY"]}, page
    english = [
        SITE / page.lstrip("/") / "index.html" for page in pages() if "zh/" not in page
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in english)
    described = re.findall(r'<meta name="description" content="(.*?)"', text)
    assert len(set(described)) == len(described), "two pages have one description"
    assert '<html lang="en"' in (SITE / "404.html").read_text(encoding="utf-8")


def test_what_is_not_translated_says_so_and_is_english():
    chinese = [page for page in pages() if page.startswith("zh/")]
    english = set()
    for page in chinese:
        text = (SITE / page / "index.html").read_text(encoding="utf-8")
        said = "本页没有中文版" in text
        assert said == ('<html lang="en"' in text), page
        english |= {page} if said else set()
    assert "zh/reference/shared/" in english and "zh/" not in english


def test_a_page_shows_what_the_last_run_printed_and_is_not_built_without(
    monkeypatch, tmp_path
):
    circle, text = find("circle_area"), "<!-- output -->\n```text\nbefore\n```"
    none = ROOT / "build" / "log" / "none.txt"
    monkeypatch.setattr(recipe_pages, "output_file", lambda *_: none)
    with pytest.raises(CookbookError, match="none.txt is missing: make log-all"):
        fill(text, recipe=circle)
    (tmp_path / "said.txt").write_text("area 3.14")
    said = tmp_path / "said.txt"
    monkeypatch.setattr(recipe_pages, "output_file", lambda *_: said)
    shown = fill(text, recipe=circle)
    assert "area 3.14" in shown and "before" not in shown
    with pytest.raises(CookbookError, match="no such line"):
        reasons(circle, "the line is gone", "en")


def test_files_are_small():
    pictures = dict.fromkeys([".webp", ".png", ".svg", ".jpg"], 150_000)
    most = {".html": 300_000, **pictures}
    files = [path for path in SITE.rglob("*") if path.suffix in most]
    large = [file for file in files if file.stat().st_size > most[file.suffix]]
    assert large == []
