"""What a model needs around it: a stand-in on loopback for the service that openai recipes ask.

Its answer to a text holds the number in the text, so that a swapped answer is seen.
"""

import json
import re
from contextlib import contextmanager
from typing import Any

from shared.local_llm import environment
from tests.fault_server import Handler, completion, running


class Echo(Handler):
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
        settings = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k" * 20, "OPENAI_MODEL": "m"}
        with environment(settings):
            yield settings
