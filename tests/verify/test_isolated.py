"""The model alone: its own files, and an environment made only from its own requirements."""

from pathlib import Path

import pytest

from shared.isolated import score_isolated
from tests.verify.conftest import assert_known_answer


@pytest.mark.verify("isolated")
def test_isolated(recipe, logged, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged.store)
    assert_known_answer(recipe, score_isolated(recipe, logged.uri(recipe)))


@pytest.mark.verify("dockerfile")
def test_dockerfile(recipe, logged):
    """The folder for docker holds the model, whole, and nothing that is on this machine only."""
    done = logged.make("dockerfile", f"RECIPE={recipe.name}")
    assert done.returncode == 0 and "docker build" in done.stdout, done.stdout + done.stderr
    made = logged.checkout / "build/docker" / recipe.name
    assert "COPY model_dir /opt/ml/model" in (made / "Dockerfile").read_text()
    copied = {path.relative_to(made / "model_dir") for path in (made / "model_dir").rglob("*")}
    stored = {path.relative_to(logged.folder(recipe)) for path in logged.folder(recipe).rglob("*")}
    assert Path("MLmodel") in stored <= copied
    assert str(logged.checkout) not in (made / "Dockerfile").read_text()
