"""Keep what the pitfalls print, if they go as their page says."""

import json

from benchmarks.report import keep
from docs.pitfalls import KEPT, cases, digest

PRINTED: dict[str, dict[str, str]] = {}


def pytest_runtest_logreport(report):
    if (
        report.when == "call"
        and report.passed
        and (said := dict(report.user_properties))
    ):
        PRINTED[report.nodeid.split("[")[-1].rstrip("]")] = said


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput") or not PRINTED:
        return
    names = {case.name for case in cases()}
    before = (
        json.loads(KEPT.read_text(encoding="utf-8"))["output"] if KEPT.is_file() else {}
    )
    output = {
        name: said for name, said in {**before, **PRINTED}.items() if name in names
    }
    output = dict(sorted(output.items()))
    if PRINTED.keys() < names:  # the page goes on naming the run of the others
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
        text = json.dumps({**kept, "output": output}, indent=1, ensure_ascii=False)
        KEPT.write_text(f"{text}\n", encoding="utf-8")
        return
    keep(KEPT, {"mlflow", "pandas"}, digest(), output=output)
