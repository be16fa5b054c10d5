"""Ask an OpenAI-compatible service for JSON of one schema, many texts at a time, none lost.

Every question ends in a `Reply`: the JSON text, or a typed error, and the tokens it used. The
endpoint is read from the environment at each call: OPENAI_API_KEY alone means the vendor,
OPENAI_BASE_URL any compatible server; OPENAI_MODEL replaces the configured model's name.

This package travels in the model's `code_paths`. Rename it in your copy: of two packages of one
name, the first that a process loads serves both models.
"""

import asyncio
import contextvars
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """What came of one question. `error` is None, or one of

    - the client's exception names: RateLimitError, AuthenticationError, BadRequestError,
      APITimeoutError, APIConnectionError, InternalServerError and their kin
    - DeadlineExceeded: all attempts and waits together took longer than `deadline_s`
    - Truncated: the answer did not fit into `max_output_tokens`
    - Refused: the model or the service's filter declined
    - InvalidResponse: status 200, but the body is not what the API promises
    """

    text: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None
    detail: str | None = None


def endpoint(config: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the API (`responses` or `chat`), the model's name and the client's arguments.

    Raises ValueError if the environment names no endpoint.
    """
    url, key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
    if not (url or key):
        raise ValueError("no endpoint: set OPENAI_API_KEY (the vendor) or OPENAI_BASE_URL")
    # The vendor recommends its Responses API; most compatible servers do schemas over chat only.
    api = config["api"]
    if api == "auto":
        api = "chat" if url and "api.openai.com" not in url else "responses"
    if api not in ("chat", "responses"):
        raise ValueError(f'api must be "auto", "chat" or "responses", got {api!r}')
    model = os.environ.get("OPENAI_MODEL") or config["model"]
    timeout = min(config["timeout_s"], config["deadline_s"])
    client = {"base_url": url or None, "api_key": key or "none", "timeout": timeout}
    return api, model, client


def request(
    messages: Messages, schema: dict[str, Any], api: str, model: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of the client's `create` for one question, in the API's own words."""
    fields, limit = {"model": model, **config["request"]}, config["max_output_tokens"]
    form = {"name": "answer", "strict": True, "schema": schema}
    if api == "chat":
        return fields | {
            "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": form},
            "max_completion_tokens": limit,
        }
    return fields | {
        "input": [{"type": "message", **message} for message in messages],
        "text": {"format": {"type": "json_schema", **form}},
        "max_output_tokens": limit,
        "store": False,  # or the vendor keeps the text for 30 days
    }


def failure(error: str, detail: object, tokens: tuple[int, int] = (0, 0)) -> Reply:
    """Return the reply that says what went wrong, without the key even if the service echoes it."""
    return Reply(None, *tokens, error=error, detail=_hidden(str(detail))[:300])


def read(response: Any) -> Reply:
    """Return the reply in a response object of either API.

    Under status 200 a server may send anything, and the client hands it on unchecked: a page of
    HTML comes as str, and fields that are missing in the JSON as None.
    """
    try:
        if response.object == "response":
            cut, usage = response.incomplete_details, response.usage
            stop, text = cut.reason if cut else response.status, response.output_text
            tokens = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
        else:
            choice, usage = response.choices[0], response.usage
            stop, text = choice.finish_reason, choice.message.content
            tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    except (AttributeError, IndexError, TypeError):
        return failure("InvalidResponse", f"no answer in {response!r}")
    if stop in ("length", "max_output_tokens"):
        return failure("Truncated", f"longer than max_output_tokens: {text!r}", tokens)
    if stop == "failed":  # the Responses API reports a failure of the service under status 200
        return failure("InternalServerError", response.error, tokens)
    if stop == "content_filter" or not text:
        return failure("Refused", f"no text in the answer: {stop}", tokens)
    return Reply(text, *tokens)


def failed(error: Exception, config: dict[str, Any]) -> Reply:
    """Return the reply for an exception that a call raised."""
    if isinstance(error, TimeoutError):
        return failure("DeadlineExceeded", f"no answer within {config['deadline_s']} s")
    # The client lets a body of broken JSON through as json.JSONDecodeError, a ValueError.
    client = isinstance(error, openai.OpenAIError)
    return failure(type(error).__name__ if client else "InvalidResponse", error)


def ask(
    questions: list[Messages], schema: dict[str, Any], config: dict[str, Any], tls: Any
) -> list[Reply]:
    """Return a reply for each question, in order, `config["concurrency"]` of them at a time.

    `schema` is JSON schema, `tls` an SSL context. Raises ValueError if there is no endpoint.
    """
    work = _ask(questions, schema, config, tls, *endpoint(config))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    # Where an event loop runs already (a notebook, an async server) a second one needs a thread of
    # its own; the copied context keeps traces with the caller's span.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, work).result()


async def _ask(
    questions: list[Messages],
    schema: dict[str, Any],
    config: dict[str, Any],
    tls: Any,
    api: str,
    model: str,
    arguments: dict[str, Any],
) -> list[Reply]:
    gate = asyncio.Semaphore(config["concurrency"])
    http = openai.DefaultAsyncHttpxClient(verify=tls)

    async def one(messages: Messages) -> Reply:
        async with gate:
            try:
                async with asyncio.timeout(config["deadline_s"]):
                    return read(await create(**request(messages, schema, api, model, config)))
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                return failed(error, config)

    async with _AsyncClient(
        **arguments, max_retries=config["max_retries"], http_client=http
    ) as client:
        create = _create(client, api)
        return list(await asyncio.gather(*map(one, questions)))


def stream(
    messages: Messages, schema: dict[str, Any], config: dict[str, Any], tls: Any
) -> Iterator[str | Reply]:
    """Yield the pieces of one answer as they come in, then its Reply.

    Not retried: what has been yielded can't be taken back.
    """
    api, model, arguments = endpoint(config)
    end = time.monotonic() + config["deadline_s"]
    fields = request(messages, schema, api, model, config) | {"stream": True}
    if api == "chat":
        fields |= {"stream_options": {"include_usage": True}}
    http = openai.DefaultHttpxClient(verify=tls)
    so_far, final = ChatCompletionStreamState(), None
    with _Client(**arguments, max_retries=0, http_client=http) as client:
        try:
            for event in _create(client, api)(**fields):
                if time.monotonic() > end:
                    raise TimeoutError
                if api == "chat":
                    so_far.handle_chunk(event)
                    final = so_far.current_completion_snapshot
                    piece = event.choices[0].delta.content if event.choices else None
                else:
                    final = getattr(event, "response", final)
                    piece = event.delta if event.type == "response.output_text.delta" else None
                if piece:
                    yield piece
            yield read(final)
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            yield failed(error, config)


def _create(client: Any, api: str) -> Any:
    return client.chat.completions.create if api == "chat" else client.responses.create


def _hidden(text: str) -> str:
    return text.replace(os.environ.get("OPENAI_API_KEY") or "\0", "***")


# Traces record an error as it is raised, so the key must be out of its text before.
class _Client(openai.OpenAI):
    def _make_status_error(
        self, err_msg: str, *, body: object, response: httpx2.Response
    ) -> openai.APIStatusError:
        return super()._make_status_error(_hidden(err_msg), body=body, response=response)


class _AsyncClient(openai.AsyncOpenAI):
    def _make_status_error(
        self, err_msg: str, *, body: object, response: httpx2.Response
    ) -> openai.APIStatusError:
        return super()._make_status_error(_hidden(err_msg), body=body, response=response)
