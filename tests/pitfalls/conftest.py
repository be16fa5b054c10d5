"""After the pitfalls have run, keep what those that are as their page says have printed."""

import json
import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version

from docs.pitfalls import KEPT, cases, digest
from shared.recipes import ROOT

PRINTED: dict[str, dict[str, str]] = {}


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and (said := dict(report.user_properties)):
        PRINTED[report.nodeid.split("[")[-1].rstrip("]")] = said


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput") or not PRINTED:
        return
    names = {case.name for case in cases()}
    before = json.loads(KEPT.read_text(encoding="utf-8"))["output"] if KEPT.is_file() else {}
    output = {name: said for name, said in {**before, **PRINTED}.items() if name in names}
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    kept = {
        "date": date.today().isoformat(),
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "digest": digest(),
        "machine": {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "versions": {"mlflow": version("mlflow"), "pandas": version("pandas")},
        },
        "output": dict(sorted(output.items())),
    }
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
