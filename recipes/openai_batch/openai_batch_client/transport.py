"""An HTTP client for services that nobody vouches for."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from .masking import KeyMask
from .pace import Pace

MAX_BYTES = 1_000_000  # of a reply; what is cut off there is no JSON any more
ANSWER_PIECE = "response.output_text.delta"  # an event of the Responses API
Event = dict[str, Any]


class GuardedClient(httpx2.AsyncClient):
    """Bound each reply, mask the key in it, and follow no redirect.

    What the openai package, MLflow's traces and the caller get of a reply has gone
    through here. A wait that the service asks for holds for all requests.
    """

    def __init__(
        self, mask: KeyMask, pace: Pace, longest_wait: float, **options: Any
    ) -> None:
        super().__init__(**options)
        self.mask = mask
        self.pace = pace
        self.longest_wait = longest_wait

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        if request.headers.get("x-stainless-retry-count", "0") != "0":
            await self.pace.turn(len(request.content) / 4)  # a further attempt
        options["follow_redirects"] = False
        with masked_errors(self.mask):
            response = await super().send(request, stream=True, **options)
        headers = self.clean_headers(response)
        if stream and response.is_success:
            content: Any = clean_stream(response, self.mask)
        else:
            content = await clean_body(response, self.mask)
        status = response.status_code
        return httpx2.Response(
            status, headers=headers, content=content, request=request
        )

    def clean_headers(self, response: httpx2.Response) -> dict[str, str]:
        """Return the headers without the key, and note how long to wait."""
        headers = {}
        for name, value in response.headers.items():
            headers[self.mask.mask(name)] = self.mask.mask(value)
        headers.pop("content-encoding", None)  # the content is decoded here
        headers.pop("content-length", None)
        if response.status_code in (429, 503):
            wait = seconds_to_wait(response.headers.get("retry-after", ""))
            if wait > self.longest_wait:  # no row can wait so long: don't try again
                headers["x-should-retry"] = "false"
            else:
                self.pace.pause(wait, time.monotonic())
        return headers


def seconds_to_wait(retry_after: str) -> float:
    """Return what Retry-After asks for: a number of seconds, or a date."""
    try:
        return max(float(retry_after), 0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0)
    except (ValueError, OverflowError):
        return 0


@contextmanager
def masked_errors(mask: KeyMask) -> Iterator[None]:
    """Mask the key in errors, which quote what is no HTTP."""
    try:
        yield
    except httpx2.RequestError as error:
        raise type(error)(mask.mask(str(error))) from None


async def read_bounded(
    response: httpx2.Response, mask: KeyMask
) -> AsyncIterator[bytes]:
    """Yield a reply's pieces up to MAX_BYTES, then close it."""
    left = MAX_BYTES
    with masked_errors(mask):
        async for piece in response.aiter_bytes():
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                break
    await response.aclose()


async def clean_body(response: httpx2.Response, mask: KeyMask) -> bytes:
    """Return a whole reply without the key."""
    pieces = [piece async for piece in read_bounded(response, mask)]
    return mask.mask_body(b"".join(pieces)).encode()


async def clean_stream(
    response: httpx2.Response, mask: KeyMask
) -> AsyncIterator[bytes]:
    """Yield a streamed reply without the key, even where its events spell it out.

    An event whose text may be the beginning of the key waits for the next one.
    """
    held: list[Event] = []
    async for line in read_lines(response, mask):
        if held and not line.strip():
            continue  # `release` ends each event with a blank line
        clean_line = mask.mask_body(line)
        event = parse_event(clean_line)
        if event_text(event) is None:
            yield release(held, mask)
            yield clean_line.encode()
            continue
        held.append(event)
        if not mask.may_continue(joined_text(held)):
            yield release(held, mask)
    yield release(held, mask)


async def read_lines(response: httpx2.Response, mask: KeyMask) -> AsyncIterator[bytes]:
    """Yield the lines of a streamed reply, each with its end."""
    rest = b""
    async for piece in read_bounded(response, mask):
        *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line + b"\n"
    yield rest


def parse_event(line: str) -> Any:
    """Return the event in a line of a stream, None if the line is none of an event.

    An event over several lines is no JSON in any of them, and fails the row.
    """
    data = line.removeprefix("data:").strip()
    if data in (line.strip(), "[DONE]"):
        return None
    return json.loads(data)


def event_text(event: Any) -> str | None:
    """Return the piece of an answer in an event, None if it is no event with pieces.

    Pieces of anything else, such as thoughts, count as empty: see `with_text`.
    """
    if not isinstance(event, dict) or not ({"delta", "choices"} & event.keys()):
        return None
    text = event.get("delta") if event.get("type") == ANSWER_PIECE else None
    with suppress(LookupError, TypeError):
        text = text or event["choices"][0]["delta"]["content"]
    return text if isinstance(text, str) else ""


def with_text(event: Event, text: str) -> Event:
    """Return the event of either API with this text as its only piece."""
    if "delta" in event:
        event = event | {"delta": text}
    if event.get("choices"):
        choice = event["choices"][0] | {"delta": {"content": text}}
        event = event | {"choices": [choice]}
    return event


def joined_text(events: list[Event]) -> str:
    """Return the text that the events spell out."""
    return "".join(event_text(event) or "" for event in events)


def release(held: list[Event], mask: KeyMask) -> bytes:
    """Return the lines of the held events, the key masked, and hold no more."""
    text = joined_text(held)
    texts = [event_text(event) or "" for event in held]
    if mask.mask(text) != text:  # then all of it goes with the first event
        texts = [mask.mask(text)] + [""] * (len(held) - 1)
    lines = []
    for event, piece in zip(held, texts, strict=True):
        lines.append(f"data: {json.dumps(with_text(event, piece))}\n\n")
    held.clear()
    return "".join(lines).encode()
