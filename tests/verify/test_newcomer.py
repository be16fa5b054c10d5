"""A newcomer with MLflow alone follows a page in an empty folder, as printed."""

import re
import subprocess
import sys
from pathlib import Path

from shared import ROOT
from shared.processes import environment, running_server

import pytest

DOCS = ROOT / "docs"


def titled_blocks(text: str) -> dict[str, str]:
    """Return title -> text of the fenced blocks that have a title."""
    text = re.sub(
        r'^--8<-- "(.*)"$', lambda m: (ROOT / m[1]).read_text(), text, flags=re.M
    )
    return dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.M | re.S))


def follow(page: str, folder: Path) -> dict[str, str]:
    """Write the page's files, run its commands up to a server; return its blocks."""
    blocks = titled_blocks((DOCS / f"{page}.md").read_text())
    for title, text in blocks.items():
        if title.endswith(".py"):
            (folder / title).write_text(text)
    commands, _, _ = blocks["terminal"].partition("mlflow models serve")
    run(["bash", "-ec", commands], folder)
    return blocks


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _no_store_but_its_own(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.verify("newcomer", recipe="circle_area")
def test_home(tmp_path):
    blocks, chinese = (
        titled_blocks((DOCS / f"{page}.md").read_text(encoding="utf-8"))
        for page in ("index", "index.zh")
    )
    assert [*blocks.values()] == [*chinese.values()]
    *files, (_, commands), (_, printed) = blocks.items()
    for name, text in files:
        (tmp_path / name).write_text(text)
    assert run(["bash", "-ec", commands], tmp_path).strip() == printed.strip()


@pytest.mark.verify("newcomer", recipe="circle_area")
def test_serve(tmp_path):
    blocks = follow("guides/serve", tmp_path)
    command = blocks["terminal"].splitlines()[-1].split()
    assert command[:3] == ["mlflow", "models", "serve"]
    ping = "http://127.0.0.1:5001/ping"
    with running_server(command, tmp_path, ping, tmp_path / "server.txt"):
        told = run(["bash", "-ec", blocks["another terminal"]], tmp_path)
        assert '"area": 3.14159' in told
        assert "3.14159" in run([sys.executable, "ask.py"], tmp_path)


@pytest.mark.verify("newcomer", recipe="circle_area")
def test_registry(tmp_path):
    follow("guides/registry", tmp_path)
    told = run([sys.executable, "promote.py"], tmp_path)
    assert re.findall(r"champion: (\d)", told) == ["2", "1"]


@pytest.mark.verify("newcomer", recipe="circle_area")
def test_test(tmp_path):
    follow("guides/test", tmp_path)
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], tmp_path)
