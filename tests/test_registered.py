"""The newest model and the life of a registered one, in a store of their own."""

from shared.recipes import CookbookError, find, newest_model
from shared.registry import print_versions, promote, register
from shared.run import recipe_run

import mlflow
import pytest

from benchmarks.circle_area import MODEL

pytestmark = pytest.mark.usefixtures("empty_store")
CIRCLE = find("circle_area")


def log() -> str:
    with recipe_run("circle_area", "a test"):
        return mlflow.pyfunc.log_model(name="circle_area", **MODEL).model_uri


def test_the_newest_model_is_the_last_that_was_logged():
    with pytest.raises(CookbookError, match="nothing logged yet; make log RECIPE="):
        newest_model(CIRCLE)
    first, second = log(), log()
    with pytest.raises(ValueError), recipe_run("circle_area", "a test"):
        mlflow.initialize_logged_model("circle_area")
        raise ValueError("the driver failed")
    assert first != second and newest_model(CIRCLE) == second


def test_versions_are_promoted_and_rolled_back(capsys):
    def printed(verb, *arguments) -> str:
        assert verb(*arguments) == 0
        return capsys.readouterr().out

    assert "nothing is registered" in printed(print_versions)
    first = log()
    register_call = f'mlflow.register_model("{first}", "circle_area")'
    assert register_call in printed(register, CIRCLE)
    assert "register_model(" not in printed(register, CIRCLE), "the same model, once"
    promoted = printed(promote, CIRCLE)
    champion = 'client.set_registered_model_alias("circle_area", "champion", "1")'
    assert champion in promoted and "back:" not in promoted
    with pytest.raises(CookbookError, match="has no challenger"):
        promote(CIRCLE)
    second = log()
    assert '"challenger", "2")' in printed(register, CIRCLE)
    back = "back: make promote RECIPE=circle_area VERSION=1"
    assert printed(promote, CIRCLE).splitlines()[-1] == back
    assert "@champion is version 1" in printed(promote, CIRCLE, "1")
    with pytest.raises(CookbookError, match="has no version 7"):
        promote(CIRCLE, "7")
    _, *rows = printed(print_versions).splitlines()
    assert [row.split() for row in rows] == [
        ["circle_area", "1", first, "champion"],
        ["circle_area", "2", second],
    ]
