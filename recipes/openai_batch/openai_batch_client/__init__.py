"""Ask an OpenAI-compatible service for JSON of one schema, thousands of texts, none lost.

This package travels in the model's `code_paths`. Rename it in your copy: of two packages of one
name, the first that a process loads serves both models.
"""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
from openai import AsyncOpenAI, OpenAIError
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel, ConfigDict, Field

MAX_BYTES = 1_000_000  # of a reply or a stream; what is cut there is no JSON any more
Messages = list[dict[str, str]]
Put = Callable[[Any], None]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Config(Strict):
    """What log_model(model_config=...) may replace, key by key."""

    model: str = "SmolLM2-135M-Instruct"  # the environment's OPENAI_MODEL wins over it
    api: Literal["auto", "responses", "chat"] = (
        "auto"  # responses at the vendor's, else chat
    )
    request: dict[str, Any] = {
        "temperature": 0
    }  # further fields, in the service's own words
    max_output_tokens: int = Field(100, gt=0)
    client: dict[str, Any] = {
        "timeout": 20,
        "max_retries": 2,
    }  # s of silence; further attempts
    deadline_s: float = Field(
        60, gt=0
    )  # of one question: all attempts and the waits between
    concurrency: int = Field(8, gt=0)


@dataclass(frozen=True)
class Reply:
    """What came of one question; `error` is None or one of those in the README's table."""

    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None
    detail: str | None = None


class Guarded(httpx2.AsyncClient):
    """Bounds a reply and blots the key out before errors, rows and traces see it; no redirects."""

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        reply = await super().send(request, stream=True, **options)
        key = request.headers.get("Authorization", "").partition(" ")[2]
        body: Any = _bounded(reply, key)
        if not stream:
            body = b"".join([piece async for piece in body])
        head = {
            k: hidden(v, key)
            for k, v in reply.headers.items()
            if k != "content-encoding"
        }
        return httpx2.Response(
            reply.status_code, headers=head, content=body, request=request
        )


async def _bounded(reply: httpx2.Response, key: str) -> AsyncIterator[bytes]:
    """Yield whole lines, because a key has no line break in it, and then what is left."""
    size, held = 0, b""
    async for piece in reply.aiter_bytes():
        lines, line_break, held = (held + piece).rpartition(b"\n")
        yield hidden((lines + line_break).decode(errors="replace"), key).encode()
        if (size := size + len(piece)) > MAX_BYTES:
            break
    yield hidden(held[:MAX_BYTES].decode(errors="replace"), key).encode()
    await reply.aclose()


def hidden(text: str, key: str) -> str:
    """Return the text without the key; a short one is a placeholder for a service without keys."""
    return text.replace(key, "***") if len(key) >= 8 else text


def in_a_loop_of_its_own(
    work: Callable[[Put], Coroutine[Any, Any, None]],
) -> Iterator[Any]:
    """Yield what `work` puts, from a thread with an event loop.

    So it runs where a loop runs already (a notebook, an async server) and asyncio.run would refuse,
    and an interrupt, or a generator that is closed, cancels all of it at once.
    """
    put: queue.SimpleQueue[Any] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(
        work(put.put)
    )  # in the caller's context, which holds its traces
    task.add_done_callback(put.put)
    thread = threading.Thread(
        target=loop.run_until_complete, args=(asyncio.wait([task]),)
    )
    thread.start()
    try:
        while (item := put.get()) is not task:
            yield item
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
    task.result()  # raises what `work` raised


class Service:
    """The environment's endpoint, asked with one schema under the limits of `config`.

    OPENAI_API_KEY alone means the vendor, with OPENAI_BASE_URL any compatible server; OPENAI_MODEL
    wins over the configured model. Raises ValueError if there is no usable endpoint.
    """

    def __init__(self, schema: dict[str, Any], config: Config, tls: Any) -> None:
        self.schema, self.config, self.key = (
            schema,
            config,
            os.environ.get("OPENAI_API_KEY") or "",
        )
        if not self.key.isprintable():  # errors of the HTTP client would quote it
            raise ValueError("OPENAI_API_KEY holds a line break or the like")
        http = Guarded(verify=tls, limits=httpx2.Limits())  # `concurrency` is the limit
        try:
            self.client = AsyncOpenAI(**config.client, http_client=http)
        except (OpenAIError, httpx2.InvalidURL, TypeError) as error:
            raise ValueError(
                f"OPENAI_API_KEY, OPENAI_BASE_URL or `client`: {error}"
            ) from None
        # The vendor recommends its Responses API; most compatible servers keep to a schema over
        # Chat Completions only.
        vendor = self.client.base_url.host == "api.openai.com"
        self.chat = config.api == "chat" or (config.api == "auto" and not vendor)

    def ask(self, questions: list[Messages]) -> list[Reply]:
        """Return a reply for each question, in order, `concurrency` of them at a time."""

        async def work(put: Put) -> None:
            gate = asyncio.Semaphore(self.config.concurrency)

            async def one(number: int, messages: Messages) -> None:
                async with gate:  # the clock starts when the question's turn comes
                    put((number, await self._answer(messages)))

            async with self.client:
                await asyncio.gather(*(one(*pair) for pair in enumerate(questions)))

        replies = dict(in_a_loop_of_its_own(work))
        return [replies[number] for number in range(len(questions))]

    def stream(self, messages: Messages) -> Iterator[str | Reply]:
        """Yield the pieces of one answer as they come in, then its Reply.

        Retried until the first piece only: what has been yielded can't be taken back.
        """

        async def work(put: Put) -> None:
            async with self.client:
                put(await self._answer(messages, put))

        return in_a_loop_of_its_own(work)

    async def _answer(self, messages: Messages, put: Put | None = None) -> Reply:
        api = self.client.chat.completions if self.chat else self.client.responses
        try:
            async with asyncio.timeout(self.config.deadline_s):
                reply: Any = await api.create(**self._request(messages, bool(put)))
                return self._read(await self._pass_on(reply, put) if put else reply)
        except TimeoutError:
            return self._failed(
                "DeadlineExceeded", f"no answer in {self.config.deadline_s} s"
            )
        except OpenAIError as error:  # after the client's own retries
            return self._failed(type(error).__name__, error)
        except (
            Exception
        ) as error:  # whatever shape a reply has, it costs its own row only
            return self._failed("InvalidResponse", f"{type(error).__name__}: {error}")

    def _request(self, messages: Messages, stream: bool) -> dict[str, Any]:
        """Return the arguments of the client's `create`, in the API's own words."""
        schema = {"name": "answer", "strict": True, "schema": self.schema}
        model = os.environ.get("OPENAI_MODEL") or self.config.model
        limit, fields = (
            self.config.max_output_tokens,
            {"model": model, "stream": stream},
        )
        fields |= {
            "store": False,
            **self.config.request,
        }  # or the vendor keeps the text
        if not self.chat:
            fields |= {"input": messages, "max_output_tokens": limit}
            return fields | {"text": {"format": {"type": "json_schema", **schema}}}
        form = {"type": "json_schema", "json_schema": schema}
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        fields |= {"messages": messages, "max_completion_tokens": limit}
        return fields | {"response_format": form} | usage

    async def _pass_on(self, events: Any, put: Put) -> Any:
        """Put the pieces of a stream; return the response that they make up."""
        state, response, held = ChatCompletionStreamState(), None, ""
        async for event in events:
            if self.chat:
                state.handle_chunk(event)
                response = state.current_completion_snapshot
                piece = event.choices[0].delta.content if event.choices else None
            else:
                response = getattr(event, "response", response)
                piece = (
                    event.delta if event.type == "response.output_text.delta" else None
                )
            held = hidden(held + (piece or ""), self.key)
            starts = [n for n in range(1, len(self.key)) if held.endswith(self.key[:n])]
            ready = len(held) - max(
                starts, default=0
            )  # what may be the key's beginning waits
            if ready:
                put(held[:ready])
            held = held[ready:]
        if held:
            put(held)
        return response

    def _read(self, response: Any) -> Reply:
        """Return the reply in a response of either API; under status 200 it may be anything."""
        sides = ("prompt", "completion") if self.chat else ("input", "output")
        usage = getattr(response, "usage", None)
        counts = [getattr(usage, f"{side}_tokens", 0) for side in sides]
        tokens = [n if type(n) is int and 0 <= n <= 2**53 else 0 for n in counts]
        if self.chat:
            choice = response.choices[0]
            stop, text = choice.finish_reason, choice.message.content
        else:
            cut, text = response.incomplete_details, response.output_text
            stop = cut.reason if cut else response.status
        if stop in ("length", "max_output_tokens"):
            return self._failed(
                "Truncated", f"longer than max_output_tokens: {text!r}", *tokens
            )
        if (
            stop == "failed"
        ):  # the Responses API reports a failure of the service under status 200
            return self._failed("InternalServerError", response.error, *tokens)
        if stop == "content_filter" or not text:
            return self._failed("Refused", f"no text in the answer: {stop}", *tokens)
        return Reply(hidden(text, self.key), tokens[0], tokens[1])

    def _failed(self, error: str, detail: object, sent: int = 0, got: int = 0) -> Reply:
        said = hidden(str(detail), self.key).encode(errors="replace").decode()[:300]
        return Reply("", sent, got, error, said)
