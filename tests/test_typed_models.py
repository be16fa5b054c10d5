"""circle_area's page: the two ways to type a model take what its tables say."""

import json

import mlflow
import pytest
from mlflow.types.type_hints import _validate_data_against_type_hint

from benchmarks import circle_area as benchmark
from benchmarks.report import RESULTS


def test_the_page_shows_what_each_way_takes_today():
    kept = json.loads((RESULTS / "circle_area.json").read_text())["tables"]
    models = benchmark.both_ways()
    assert kept["One diameter, sent over REST"] == benchmark.values_taken(models)
    forms = kept["One circle of diameter 2, in each form of a request"]
    assert forms == benchmark.forms_taken(models)


def test_a_bare_list_of_floats_refuses_whole_numbers():
    """As the page says. MLflow checks the type of each element itself."""
    assert _validate_data_against_type_hint([2.0], list[float]) == [2.0]
    with pytest.raises(mlflow.MlflowException, match="Expected type"):
        _validate_data_against_type_hint([2], list[float])
