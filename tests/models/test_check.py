"""check-model finds each fault of the corpus by its check alone, and no fault else."""

from shared.check import check_model, table

import pytest

from tests.models.corpus import FAULTLESS, FAULTS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "model", [*FAULTS, *FAULTLESS], ids=lambda model: f"{model.finds}, {model.title}"
)
def test_a_fault_is_found_by_its_check_alone(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "none of yours")
    results = check_model(model.save(tmp_path))
    found = [outcome for outcome in results if outcome.why]
    expected = [model.finds] if model.finds else []
    assert [outcome.name for outcome in found] == expected, "\n".join(map(str, results))


def test_each_check_has_a_fault_to_find():
    assert {model.finds for model in FAULTS} == table().keys()
