"""The driver logs in an empty store; that model answers as known, and has no faults."""

import subprocess
import sys
from pathlib import Path

from check_model import check_model
from shared.known_answer import ask, find_faults

import pytest
from driver import NAME

HERE = Path(__file__).parent


def test_known_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/test.db")
    subprocess.run([sys.executable, HERE / "driver.py"], cwd=tmp_path, check=True)
    model = f"models:/{NAME}/latest"
    assert find_faults(HERE, ask(model, HERE)) == []
    assert not [check for check in check_model(model) if check.status == "error"]
