"""check-model finds nothing in what the recipes logged."""

from check_model import check_model


def test_check_model_finds_nothing_in_what_was_logged(logged):
    """Nor in the parts of a composite."""
    findings = []
    for model in (logged / ".mlflow/artifacts/models").glob("*/artifacts"):
        results = check_model(str(model))
        findings += [f"{model}: {outcome}" for outcome in results if outcome.why]
    assert findings == []
