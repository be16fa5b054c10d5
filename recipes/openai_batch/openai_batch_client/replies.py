"""Read what a service answered, or why it did not."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from openai import APIStatusError

MAX_DETAIL = 300  # characters
REFUSES_FIELD = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|extra_forbidden"
    r"|extra inputs|not permitted|not allowed|cannot find field",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """What came of one question: a text, or an error of the README's table."""

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    unsupported: str | None = None  # fields that the service refused, left out
    error: str | None = None
    detail: str | None = None

    def json_text(self) -> str:
        """Return the JSON in the text, without a <think> block or a code fence."""
        text = self.text.rpartition("</think>")[2]
        return text[text.find("{") : text.rfind("}") + 1]


def read_response(response: Any, chat: bool) -> Reply:
    """Return the reply in a response; under status 200 it may be anything."""
    problem = getattr(response, "error", None)
    if problem:
        return failed("InternalServerError", problem)
    read = read_chat if chat else read_responses
    text, stop, refusal = read(response)
    usage = getattr(response, "usage", None)
    reply = Reply(
        text=text or "",
        input_tokens=count(usage, "prompt_tokens" if chat else "input_tokens"),
        output_tokens=count(usage, "completion_tokens" if chat else "output_tokens"),
    )
    if stop in ("length", "max_output_tokens"):
        problem = failed("Truncated", f"longer than max_output_tokens: {text!r}")
    elif refusal or stop == "content_filter" or not text:
        problem = failed("Refused", refusal or f"no text in the answer: {stop}")
    else:
        return reply
    return replace(reply, text="", error=problem.error, detail=problem.detail)


def read_chat(response: Any) -> tuple[Any, Any, Any]:
    """Return text, reason to stop and refusal of a Chat Completions response."""
    choice = response.choices[0]
    message = choice.message
    return message.content, choice.finish_reason, getattr(message, "refusal", None)


def read_responses(response: Any) -> tuple[Any, Any, Any]:
    """Return text, reason to stop and refusal of a Responses response."""
    cut = response.incomplete_details
    refusals = []
    for item in response.output:
        for part in getattr(item, "content", None) or []:
            refusals.append(getattr(part, "refusal", None) or "")
    stop = cut.reason if cut else response.status
    return response.output_text, stop, " ".join(refusals).strip()


def count(usage: Any, name: str) -> int:
    """Return a number of tokens; a report that is no whole number counts as 0."""
    value = getattr(usage, name, 0)
    return value if type(value) is int and 0 <= value <= 2**53 else 0


def failed(error: str, detail: object) -> Reply:
    """Return the reply to a question that has no answer."""
    text = str(detail).encode(errors="replace").decode()  # no unpaired surrogates
    return Reply(error=error, detail=text[:MAX_DETAIL])


def unsupported_field(error: APIStatusError, fields: Collection[str]) -> str | None:
    """Return the field of a request that a service calls unsupported, if any."""
    text = error.response.text
    if error.status_code not in (400, 422) or not REFUSES_FIELD.search(text):
        return None
    for name in re.findall(r"\w+", text):  # the first is meant; others may be advice
        if name in fields:
            return name
    return None
