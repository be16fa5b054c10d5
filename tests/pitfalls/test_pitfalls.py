"""`make pitfalls`: the wrong way still goes wrong as its page says.

What they print is kept in output.json, which the site shows. A red case is news: MLflow
has changed, and the page with it.
"""

import multiprocessing
import os
import re
import runpy
import sys
import traceback
from pathlib import Path

from check_model import check_model

import pytest

from docs.pitfalls import Pitfall, cases, finders

pytestmark = pytest.mark.pitfall
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",
    "NO_COLOR": "1",
}
COMMANDS = ("python log.py", "cd elsewhere && MODEL=../model python load.py")
# Each script is a process forked from one that has imported these, which takes most of
# the time.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow.pyfunc", "mlflow.pyfunc.scoring_server"])


def script(path: Path, place: Path, environment: dict[str, str]) -> None:
    """Run the script in `place`; its output goes to `<script>.out` and `.err`."""
    for stream, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(path.with_suffix(ending), os.O_WRONLY | os.O_CREAT), stream)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ |= environment
    os.chdir(place)
    # As for a script that is run in `place`, which does not see this repository.
    sys.path = [str(place), *(each for each in sys.path if "/python3" in each)]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        said = "".join(traceback.format_exception_only(error))
        print(" ".join(said.split())[:400])
        lines = "".join(traceback.format_exception(error)).splitlines()[-8:]
        path.with_suffix(".tail").write_text("\n".join(lines))
    sys.stdout.flush()


def run(case: Pitfall, way: str, folder: Path) -> str:
    """Write the way's files and run them; return what they print."""
    here, elsewhere = folder / "here", folder / "here" / "elsewhere"
    elsewhere.mkdir(parents=True)
    files = case.ways["wrong"] | case.ways[way]
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MODEL": f"{here}/model",
    }
    shown = ""
    steps = (("log.py", here, COMMANDS[0]), ("load.py", elsewhere, COMMANDS[1]))
    for name, place, command in steps:
        if name in files:
            path = here / name
            process = PROCESSES.Process(
                target=script, args=(path, place, QUIET | environment)
            )
            process.start()
            process.join(300)
            if process.is_alive():
                process.kill()
                pytest.fail(f"{case.name}, {way}: {name} hangs")
            shown += f"$ {command}\n{path.with_suffix('.out').read_text()}"
            if case.head.get("warnings"):
                warned = re.findall(
                    r"WARNING mlflow\S*: (.*)", path.with_suffix(".err").read_text()
                )
                shown += "".join(f"{line}\n" for line in warned)
    return re.sub(r"\b[0-9a-f]{32}\b", "<id>", shown.replace(str(folder), "/..."))


def tail(folder: Path) -> str:
    """Return the end of the last traceback, as a terminal shows it."""
    text = "".join(path.read_text() for path in sorted(folder.rglob("*.tail"))[:1])
    text = re.sub(r'"[^"]*/(site-packages|lib/python3)', r'"/.../\1', text)
    return text.replace(str(folder), "/...")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_pitfall(case, tmp_path, record_property):
    for way in ("wrong", "right"):
        output = run(case, way, tmp_path / way)
        record_property(way, output)
        if way == "wrong" and (lines := tail(tmp_path / way)):
            record_property("traceback", lines)
        assert case.head[way] in output, f"{case.name}, {way}:\n{output}"
    model = tmp_path / "wrong/here/model"
    if finders(case) and (model / "MLmodel").is_file():
        named = [r for r in check_model(str(model)) if r.name in finders(case)]
        skipped = all(result.status == "skipped" for result in named)  # no example
        assert skipped or any(result.why for result in named), named
