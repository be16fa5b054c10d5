"""A newcomer with MLflow alone follows a guide in an empty folder, as printed."""

import re
import shutil
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from shared import ROOT
from shared.processes import free_port, running_server
from shared.recipes import find

import pytest
import yaml

from tests.conftest import run_lines

pytestmark = pytest.mark.verify
GUIDES = ROOT / "docs" / "guides"
FOLLOWED = ["../index", "serve", "registry", "test", "from-an-object", "config"]
FOLLOWED += ["private-packages", "prompts", "in-production", "isolated", "spark"]
FOLLOWED += ["what-is-in-an-artifact", "webhook", "team-server", "upgrade"]
SERVER = r"^.* (?:--port|http\.server) (\d+).*\n\Z"  # a last line that starts one


def guide_text(guide: str) -> str:
    """Return the guide with its snippets; its ports are replaced by free ones."""
    ports: defaultdict[str, int] = defaultdict(free_port)
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    text = re.sub(
        r'^ *--8<-- "(.*)"$', lambda m: (ROOT / m[1]).read_text(), text, flags=re.M
    )
    return re.sub(r"\b50\d\d\b", lambda m: str(ports[m[0]]), text)


def follow(guide: str, folder: Path) -> None:
    """Do what the guide says from top to bottom, by the titles of its blocks.

    A file is written, "terminal" is run, a last line with a port starts a server, and
    "prints" is what the block before it must have printed.
    """
    blocks = r'^```\w+ title="(.+?)"\n(.*?)^```$'
    printed = ""
    with ExitStack() as servers:
        for title, text in re.findall(blocks, guide_text(guide), re.M | re.S):
            if title == "prints":
                assert printed.strip() == text.strip()
            elif title.endswith("terminal"):
                server = re.search(SERVER, text, re.M)
                commands = text[: server.start()] if server else text
                printed = run_lines(commands, folder)
                if server:
                    page = "" if "http.server" in server[0] else "health"
                    address = f"http://127.0.0.1:{server[1]}/{page}"
                    command = ["bash", "-c", server[0]]
                    log = folder / f"{server[1]}.txt"
                    servers.enter_context(running_server(command, folder, address, log))
            else:
                (folder / title).parent.mkdir(parents=True, exist_ok=True)
                (folder / title).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("guide", FOLLOWED)
def test_guide(guide, tmp_path):
    follow(guide, tmp_path)


def test_a_faster_log_of_the_first_model(tmp_path):
    follow("../index", tmp_path)
    follow("speed", tmp_path)


def test_the_table_of_types(tmp_path):
    follow("which-way", tmp_path)
    assert run_lines("python make_table.py", tmp_path) in guide_text("which-way")


def test_a_recipe_s_file_with_plain_mlflow(tmp_path):
    for name in ("model_code.py", "request.json", "requirements.txt"):
        shutil.copy(find("circle_area").path / name, tmp_path)
    follow("copy-a-recipe", tmp_path)
    assert "346.36" in run_lines("python log.py", tmp_path)


def test_the_workflow(tmp_path):
    """Its steps are run in order, on a store of their own."""
    follow("ci", tmp_path)
    workflow = yaml.safe_load((tmp_path / ".github/workflows/model.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [
        step["run"] for step in steps if "run" in step and step["name"] != "Install"
    ]
    *_, register, promote = commands
    lines = [
        "export MLFLOW_TRACKING_URI=sqlite:///ci.db GITHUB_OUTPUT=output.txt VERSION=1",
        *commands[:-1],
        register,  # a newer version, before the first one is approved
        promote,
        f"VERSION=2\n{promote}",
        f"VERSION=1\n! ({promote})",  # an approval that comes late
    ]
    assert run_lines("\n".join(lines), tmp_path).endswith("champion: 1\nchampion: 2\n")
    assert (tmp_path / "output.txt").read_text() == "version=1\nversion=2\n"
    follow("check-a-model", tmp_path)
    store = "export MLFLOW_TRACKING_URI=sqlite:///ci.db"
    run_lines(f"{store}\npytest test_model.py", tmp_path)
