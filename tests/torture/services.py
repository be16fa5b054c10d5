"""The fake service for the recipes that ask one.

Its answer to a text holds the number in the text, or follows from it, so that a swap is
seen.
"""

import json
import re
from contextlib import contextmanager
from typing import Any

from shared.local_embeddings import EMBEDDING_MODEL
from shared.local_llm import environment

from benchmarks.fake_service import Handler, completion, running, text_of


def echo(handler: Handler, body: dict[str, Any]) -> None:
    """Answer with the number in the text; embed as ever."""
    if handler.path.endswith("/embeddings"):
        return handler.send_vectors(body)
    number = re.search(r"\d{1,9}", text_of(body))
    fields = {"product": None, "price": float(number[0]) if number else None}
    text = json.dumps(fields | {"sentiment": "positive"})
    handler.send_json(completion("", text))


@contextmanager
def service(recipe):
    """Set what the recipe's model reads from the environment, while the block runs."""
    if not recipe.front_matter.get("runs_with"):
        yield {}
        return
    with running() as server:
        server.always = echo
        settings = {
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "k" * 20,
            "OPENAI_MODEL": "m",
            "OPENAI_EMBEDDING_BASE_URL": server.url,
            "OPENAI_EMBEDDING_MODEL": EMBEDDING_MODEL,
        }
        with environment(settings):
            yield settings
