"""What the tests under attack share: the counts that are kept."""

import json
from collections import Counter

from shared.recipes import ROOT

import mlflow
import pytest
from filelock import FileLock

from tests.conftest import store


@pytest.fixture(scope="module", autouse=True)
def untraced(logged):
    """Keep no traces of an agent's calls.

    None is sampled here; where tracing is disabled, loading a composite waits for ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*store(logged).popitem())
        patch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "0")
        mlflow.tracing.reset()
        with mlflow.start_span("the first one"):  # reads the ratio
            pass
    yield
    mlflow.tracing.reset()


@pytest.fixture
def counts():
    """Keep what came of a test's cases in build/torture.json."""
    return Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    counted = getattr(item, "funcargs", {}).get("counts")
    if call.when == "call" and call.excinfo is None and counted:
        path = ROOT / "build" / "torture.json"
        path.parent.mkdir(exist_ok=True)
        with FileLock(f"{path}.lock"):
            kept = json.loads(path.read_text()) if path.is_file() else {}
            kept[item.nodeid] = dict(sorted(counted.items()))
            path.write_text(json.dumps(kept, indent=2) + "\n")
    return (yield)


@pytest.fixture
def cases(request):
    """Return a function: how many cases of a kind to try."""
    asked = request.config.getoption("--cases")
    return lambda few, many: few if not asked else max(1, many * asked // 10_000)
