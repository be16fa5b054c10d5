"""circle_area's page: the two ways to type a model take what its tables say."""

import json

from benchmarks import circle_area as benchmark
from benchmarks.report import RESULTS


def test_the_page_shows_what_each_way_takes_today():
    kept = json.loads((RESULTS / "circle_area.json").read_text())["tables"]
    models = benchmark.both_ways()
    assert kept["One diameter, sent over REST"] == benchmark.values_taken(models)
    forms = kept["One circle of diameter 2, in each form of a request"]
    assert forms == benchmark.forms_taken(models)
