"""The guide's commands sign a model; a changed file is noticed."""

import subprocess

from shared.processes import environment

import pytest

from tests.conftest import blocks


@pytest.mark.verify
def test_a_signature_notices_a_changed_file(logged, tmp_path):
    keys, commands = blocks("what-is-in-an-artifact", "bash")[-2:]
    keys = keys.replace("pip install model-signing pyopenssl\n", "")
    env = environment(MLFLOW_TRACKING_URI=logged.store)

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-ec", lines]
        return subprocess.run(
            shell, cwd=tmp_path, env=env, capture_output=True, text=True
        )

    signed = run(keys + commands)
    assert signed.returncode == 0, signed.stdout + signed.stderr
    (code,) = tmp_path.rglob("model_code.py")
    code.write_text(code.read_text().replace("np.pi", "3.2"))
    verify = commands.strip().splitlines()[-1]
    assert verify.startswith("model_signing verify") and run(verify).returncode != 0
