"""Keep what the pitfalls print, if they go as their page says."""

import json

from benchmarks.report import keep
from docs.pitfalls import KEPT, cases, digest

PRINTED: dict[str, dict[str, str]] = {}


def pytest_runtest_logreport(report):
    printed = dict(report.user_properties)
    if report.when == "call" and report.passed and printed:
        PRINTED[report.nodeid.split("[")[-1].rstrip("]")] = printed


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput") or not PRINTED:
        return
    names = {case.name for case in cases()}
    if PRINTED.keys() == names:
        keep(KEPT, {"mlflow", "pandas"}, digest(), output=dict(sorted(PRINTED.items())))
        return
    kept = json.loads(KEPT.read_text(encoding="utf-8"))  # of the run of the others
    output = kept["output"] | PRINTED
    kept["output"] = {name: output[name] for name in sorted(output) if name in names}
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    KEPT.write_text(f"{text}\n", encoding="utf-8")
