"""What programs read of the built site: twins, llms.txt, the skill, the feed."""

import re
from xml.etree import ElementTree

from shared.recipes import find

import pytest

from docs.agents import SITE as ADDRESS
from docs.agents import SKILL
from tests.site.conftest import SITE


def test_twins_are_plain_markdown_with_what_the_page_shows():
    marks = re.compile(r"^(<div|<figure|<!-- |\?\?\?|!!! |::: |--8<--).*", re.M)
    twins = {
        path.relative_to(SITE): path.read_text("utf-8") for path in SITE.rglob("*.md")
    }
    assert {
        str(p): marks.findall(text) for p, text in twins.items() if marks.search(text)
    } == {}
    code = (find("circle_area").path / "model_code.py").read_text("utf-8")
    assert code in (SITE / "recipes/circle_area.md").read_text("utf-8")


@pytest.mark.parametrize("file", ["llms.txt", SKILL])
def test_their_links_lead_to_files_and_anchors(file):
    links = re.findall(
        rf"{ADDRESS}([^)#\s]*)(?:#([\w-]+))?", (SITE / file).read_text("utf-8")
    )
    assert len(links) > 12
    for place, anchor in links:
        path = SITE / place
        page = path / "index.html" if path.is_dir() else path
        assert page.is_file(), place
        assert not anchor or f'id="{anchor}"' in page.read_text("utf-8"), anchor


def test_the_feed_has_an_entry_for_each_date():
    atom = "{http://www.w3.org/2005/Atom}"
    feed = ElementTree.parse(SITE / "changes.atom").getroot()
    dates = [entry.findtext(f"{atom}updated") for entry in feed.iter(f"{atom}entry")]
    assert len(dates) >= 2 and dates == sorted(set(dates), reverse=True)
    assert feed.findtext(f"{atom}updated") == dates[0]
