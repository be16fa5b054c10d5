"""The guide's commands sign a model and serve it; a changed file is noticed."""

from shared.processes import environment, free_port, running_server
from shared.recipes import find

import pytest

from tests.conftest import blocks, run_lines, store_uri


@pytest.mark.verify
def test_a_changed_file_is_not_served(logged, folder, tmp_path):
    keys, release, sign, serve = blocks("what-is-in-an-artifact", "bash")
    keys = keys.replace("pip install model-signing pyopenssl\n", "")
    store = {"MLFLOW_TRACKING_URI": store_uri(logged)}
    run_lines(keys + release + sign, tmp_path, environment(**store))
    port = free_port()
    command = ["bash", "-ec", serve.replace("5001", str(port))]
    place = (f"http://127.0.0.1:{port}/ping", tmp_path / "server.txt")
    with running_server(command, tmp_path, *place, **store):
        pass
    code = folder(find("circle_area")) / "model_code.py"
    text = code.read_text()
    code.write_text(text.replace("np.pi", "3.2"))
    try:
        with (
            pytest.raises(RuntimeError, match="Verification failed"),
            running_server(command, tmp_path, *place, **store),
        ):
            pass
    finally:
        code.write_text(text)
