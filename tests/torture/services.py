"""A stand-in on loopback for the services that some recipes ask.

Its answer to a text holds the number in the text, or follows from it, so that a swap is
seen.
"""

import json
import re
import zlib
from contextlib import contextmanager
from typing import Any

from shared.local_embeddings import EMBEDDING_MODEL
from shared.local_llm import environment

import numpy as np

from tests.fault_server import Handler, completion, running


def vector(text: str) -> np.ndarray:
    """Return what the stand-in says of a text, in place of an embedding."""
    return np.random.default_rng(
        zlib.crc32(text.encode("utf-8", "surrogatepass"))
    ).normal(size=384)


class Echo(Handler):
    def do_POST(self) -> None:
        if not self.path.endswith("/embeddings"):
            return super().do_POST()
        self.fault = ""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"embedding": vector(text).tolist(), "index": number}
            for number, text in enumerate(texts)
        ]
        self.send(json.dumps({"data": data}).encode(), {})

    def answer(self, fault: str, count: int, body: dict[str, Any]) -> None:
        said = str((body.get("messages") or body["input"])[-1]["content"])
        number = re.search(r"\d{1,9}", said)
        fields = {"product": None, "price": float(number[0]) if number else None}
        text = json.dumps(fields | {"sentiment": "positive"})
        self.send(json.dumps(completion("", text)).encode(), {})


@contextmanager
def service(recipe):
    """Set what the recipe's model reads from the environment, while the block runs."""
    if not recipe.front_matter.get("runs_with"):
        yield {}
        return
    with running() as server:
        server.RequestHandlerClass = Echo
        settings = {
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "k" * 20,
            "OPENAI_MODEL": "m",
        }
        settings["OPENAI_EMBEDDING_BASE_URL"] = server.url
        settings["OPENAI_EMBEDDING_MODEL"] = EMBEDDING_MODEL
        with environment(settings):
            yield settings
