"""The search finds the page: by an error, by its traceback, by what readers type."""

from pathlib import Path
from urllib.parse import urljoin, urlparse

import pytest
import yaml

from docs.pitfalls import cases, kept

QUERIES = yaml.safe_load(Path(__file__).with_name("queries.yml").read_text("utf-8"))
HOMES = {"en": "", "zh": "zh/"}
ITEM = ".md-search-result__item"


@pytest.fixture
def first_found(tab, base):
    """Return a function that opens a language's search and looks texts up in it."""

    def look_up(text, pasted=False):
        field = tab.locator("input.md-search__input")
        field.fill("")
        tab.keyboard.press("End")  # the search listens to keys
        tab.wait_for_function(f"!document.querySelector('{ITEM}')")
        if pasted:
            tab.evaluate("text => navigator.clipboard.writeText(text)", text)
            tab.keyboard.press("Control+V")
        else:
            field.fill(text)
            tab.keyboard.press("End")
        link = tab.locator(f"{ITEM} a").first
        try:
            link.wait_for(timeout=5_000)
        except Exception:
            return "nothing"
        found = urlparse(urljoin(tab.url, link.get_attribute("href"))).path
        return found.removeprefix(urlparse(base).path)

    def open_page(locale):
        tab.set_viewport_size({"width": 1440, "height": 900})
        tab.goto(urljoin(base, HOMES[locale]), wait_until="load")
        tab.locator("input.md-search__input").click()
        tab.locator("input.md-search__input").fill("mlflow")
        tab.keyboard.press("End")
        tab.locator(ITEM).first.wait_for(timeout=120_000)  # the index is there
        return look_up

    return open_page


def missed(look_up, rows, **how):
    """Return what was looked up and found elsewhere than on its pages."""
    found = [(text, look_up(text, **how), page) for text, page in rows]
    return [row for row in found if row[1] not in row[2].split()]


@pytest.mark.parametrize("locale", HOMES)
def test_an_error_or_its_traceback_leads_to_its_pitfall(first_found, locale):
    rows = []
    for case in cases():
        page = f"{HOMES[locale]}pitfalls/{case.slug}/"
        rows += [(line, page) for line in case.error.splitlines()]
        if tail := kept()["output"][case.name].get("traceback"):
            rows.append((tail, page))
    assert sum("\n" in text for text, _ in rows) >= 10, "tracebacks"
    assert missed(first_found(locale), rows, pasted=True) == []


def queries(name):
    return [(row["query"], row["page"]) for row in QUERIES[name]]


@pytest.mark.parametrize("locale", HOMES)
def test_readers_find_the_page(first_found, locale):
    rows = queries(locale)
    wrong = missed(first_found(locale), rows)
    assert len(wrong) <= 2, wrong  # of 20


@pytest.mark.parametrize("locale", HOMES)
def test_single_words_lead_to_their_page(first_found, locale):
    rows = queries("words")
    chosen = [r for r in rows if r[1].startswith("zh/") == (locale == "zh")]
    assert missed(first_found(locale), chosen) == []
