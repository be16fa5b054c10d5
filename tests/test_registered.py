"""The newest model and the life of a registered one, in a store of their own."""

from shared import servers
from shared.cli import main
from shared.recipes import Recipe, find
from shared.registry import promote, register, show
from shared.run import recipe_run
from shared.store import newest_model

import mlflow
import pandas as pd
import pytest

from recipes.circle_area.driver import HERE, SIGNATURE
from tests.verify.processes import free_port

CIRCLE = find("circle_area")


def log() -> str:
    with recipe_run(str(HERE / "driver.py"), "a test"):
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
    """Two models that were logged, and a later one that was not to its end: the two addresses."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    new_store(tmp_path / "runs.db")
    made = [log(), log()]
    with pytest.raises(ValueError), recipe_run(str(HERE / "driver.py"), "a test"):
        mlflow.initialize_logged_model("circle_area")
        raise ValueError("the driver failed")
    return made


def test_the_newest_model_is_the_last_that_was_logged(two):
    assert two[0] != two[1] and newest_model(CIRCLE) == two[1]
    with pytest.raises(
        LookupError, match="other: nothing logged yet; make log RECIPE=other"
    ):
        newest_model(Recipe(CIRCLE.path.with_name("other")))


def test_versions_are_promoted_and_rolled_back(two, capsys):
    def said(command, *words) -> str:
        assert command(*words) == 0
        return capsys.readouterr().out

    assert "nothing is registered" in said(show)
    assert f"circle_area version 1 is the challenger ({two[1]})" in said(
        register, CIRCLE
    )
    assert "version 1 is the challenger" in said(register, CIRCLE), (
        "the same model, once"
    )
    assert said(promote, CIRCLE) == "models:/circle_area@champion is version 1\n"
    with pytest.raises(LookupError, match="has no challenger; its versions: 1"):
        promote(CIRCLE)
    third = log()
    assert f"version 2 is the challenger ({third})" in said(register, CIRCLE)
    back = "back: make promote RECIPE=circle_area VERSION=1"
    assert said(promote, CIRCLE).splitlines()[1:] == [back]
    assert "is version 1" in said(promote, CIRCLE, "1")
    with pytest.raises(LookupError, match="has no version 7; its versions: 1, 2"):
        promote(CIRCLE, "7")
    assert [line.split() for line in said(show).splitlines()] == [
        ["circle_area", "1", two[1], "champion"],
        ["circle_area", "2", third],
    ]


WAYS = ["smoke", "accept", "serve", "serve-agent", "dockerfile", "isolated"]
WAYS += ["register", "promote", "rebuild"]


@pytest.mark.parametrize("way", WAYS)
def test_no_way_in_runs_a_model_that_was_changed(
    way, two, tmp_path, monkeypatch, capfd
):
    if way == "promote":
        register(CIRCLE)
    (code,) = tmp_path.glob(f"artifacts/models/{two[1][8:]}/artifacts/model_code.py")
    code.write_text("raise SystemExit('ran')")
    monkeypatch.setattr(
        servers, "run", lambda *_, **__: 0
    )  # it would start, and not end
    monkeypatch.setenv("RECIPE", "circle_area")
    monkeypatch.setenv("PORT", str(free_port()))
    assert main([way]) == 1
    assert "model_code.py was changed since it was logged: not used" in "".join(
        capfd.readouterr()
    )
