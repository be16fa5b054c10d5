"""The newest model and the life of a registered one, in a store of their own."""

from shared.recipes import CookbookError, Recipe, find, newest_model
from shared.registry import print_versions, promote, register
from shared.run import recipe_run

import mlflow
import pandas as pd
import pytest

from recipes.circle_area.driver import HERE, SIGNATURE

CIRCLE = find("circle_area")


def log() -> str:
    with recipe_run("circle_area", "a test"):
        logged = mlflow.pyfunc.log_model(
            name="circle_area",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=pd.DataFrame({"diameter": [1.0]}),
            pip_requirements=[],
        )
    return logged.model_uri


@pytest.fixture
def two(tmp_path, monkeypatch, new_store):
    """Return the addresses of two models; a later one failed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    new_store(tmp_path / "runs.db")
    made = [log(), log()]
    with pytest.raises(ValueError), recipe_run("circle_area", "a test"):
        mlflow.initialize_logged_model("circle_area")
        raise ValueError("the driver failed")
    return made


def test_the_newest_model_is_the_last_that_was_logged(two):
    assert two[0] != two[1] and newest_model(CIRCLE) == two[1]
    with pytest.raises(
        CookbookError, match="other: nothing logged yet; make log RECIPE=other"
    ):
        newest_model(Recipe(CIRCLE.path.with_name("other")))


def test_versions_are_promoted_and_rolled_back(two, capsys):
    def printed(verb, *arguments) -> str:
        assert verb(*arguments) == 0
        return capsys.readouterr().out

    champion = 'client.set_registered_model_alias("circle_area", "champion", "1")'
    assert "nothing is registered" in printed(print_versions)
    first = f'mlflow.register_model("{two[1]}", "circle_area")'
    assert first in printed(register, CIRCLE)
    assert "register_model(" not in printed(register, CIRCLE), "the same model, once"
    promoted = printed(promote, CIRCLE)
    assert champion in promoted and "back:" not in promoted
    assert "models:/circle_area@champion is version 1" in promoted
    with pytest.raises(CookbookError, match="has no challenger; versions: 1"):
        promote(CIRCLE)
    third = log()
    assert '"challenger", "2")' in printed(register, CIRCLE)
    back = "back: make promote RECIPE=circle_area VERSION=1"
    assert printed(promote, CIRCLE).splitlines()[-1] == back
    assert "is version 1" in printed(promote, CIRCLE, "1")
    with pytest.raises(CookbookError, match="has no version 7; versions: 1, 2"):
        promote(CIRCLE, "7")
    assert [line.split() for line in printed(print_versions).splitlines()] == [
        ["circle_area", "1", two[1], "champion"],
        ["circle_area", "2", third],
    ]
