"""Ask the service that the environment names, within the limits of a configuration."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import httpx2
import mlflow
from openai import APIStatusError, AsyncOpenAI, OpenAIError
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel, ConfigDict, Field

from .masking import key_mask
from .pace import Pace
from .replies import Reply, failed, read_response, unsupported_field
from .threads import Put, run_in_thread
from .transport import GuardedClient

Question = list[dict[str, str]]
Fields = dict[str, Any]
# What the client raises for a missing key, an address, a proxy or an argument.
UNUSABLE = (OpenAIError, httpx2.InvalidURL, ImportError, TypeError, ValueError)
RENAMED = {"max_completion_tokens": "max_tokens"}  # older services know the second


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Config(Strict):
    """Settings that log_model(model_config=...) may replace, one by one."""

    # OPENAI_MODEL in the environment wins over it.
    model: str = "SmolLM2-135M-Instruct"
    # "auto" means Responses at the vendor's address and Chat Completions elsewhere.
    api: Literal["auto", "responses", "chat"] = "auto"
    # Further fields of a request, in the service's own words; null leaves one out.
    # "store": false, so that the vendor keeps no text, is sent unless it stands here.
    request: Fields = {"temperature": 0}
    # Tokens of an answer.
    max_output_tokens: int = Field(100, gt=0)
    # Seconds for a row: all attempts and the waits between them.
    deadline_s: float = Field(60, gt=0)
    # Requests that are open at the same time.
    concurrency: int = Field(8, gt=0)
    # The service's rate limits; None is no limit.
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    # Arguments of the openai client: seconds of silence, further attempts.
    client: Fields = {"timeout": 20, "max_retries": 2}


class Service:
    """A service that answers in JSON of one schema.

    OPENAI_API_KEY alone means the vendor, with OPENAI_BASE_URL any compatible server.
    Both are read at each call. The rate limits hold over all calls of a process.
    """

    def __init__(self, schema: Fields, config: Config) -> None:
        self.schema = schema
        self.config = config
        self.pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        # Address and model -> the fields that are left out there.
        self.unsupported: dict[Any, list[str]] = defaultdict(list)
        self.tls = httpx2.create_ssl_context()  # takes longer than a call, so once

    def ask(self, questions: list[Question]) -> list[Reply]:
        """Return a reply for each question, in order."""
        if not questions:  # then no key is needed
            return []
        session = self.connect()
        gate = asyncio.Semaphore(self.config.concurrency)

        async def answer_one(number: int, question: Question, put: Put) -> None:
            async with gate:
                put((number, await session.answer(question)))

        async def answer_all(put: Put) -> None:
            async with session.client:
                tasks = [
                    answer_one(number, question, put)
                    for number, question in enumerate(questions)
                ]
                await asyncio.gather(*tasks)

        replies = dict(run_in_thread(answer_all))
        return [replies[number] for number in range(len(questions))]

    def stream(self, question: Question) -> Iterator[str | Reply]:
        """Yield the pieces of an answer as they come in, then the whole as a Reply.

        A stream that breaks is not tried again: what was yielded can't be taken back.
        """
        session = self.connect()

        async def answer(put: Put) -> None:
            async with session.client:
                put(await session.answer(question, put))

        return run_in_thread(answer)

    def connect(self) -> "Session":
        """Return a session with the service that the environment names now."""
        key = os.environ.get("OPENAI_API_KEY", "")
        check_key(key)
        try:
            http = GuardedClient(
                key_mask(key),
                self.pace,
                longest_wait=self.config.deadline_s,
                verify=self.tls,
                limits=httpx2.Limits(),  # `concurrency` is the limit
            )
            client = AsyncOpenAI(**self.config.client, http_client=http)
        except UNUSABLE as error:
            raise mlflow.MlflowException.invalid_parameter_value(
                "change OPENAI_API_KEY, OPENAI_BASE_URL, a proxy variable or `client`: "
                f"{error}"
            ) from None
        return Session(self, client)


class Session:
    """A client of the service for one call of `ask` or `stream`."""

    def __init__(self, service: Service, client: AsyncOpenAI) -> None:
        self.config = service.config
        self.schema = service.schema
        self.pace = service.pace
        self.client = client
        self.model = os.environ.get("OPENAI_MODEL") or self.config.model
        self.unsupported = service.unsupported[client.base_url, self.model]
        # The vendor recommends its Responses API; most compatible services keep to a
        # schema over Chat Completions only.
        self.chat = client.base_url.host != "api.openai.com"
        if self.config.api != "auto":
            self.chat = self.config.api == "chat"

    async def answer(self, question: Question, put: Put | None = None) -> Reply:
        """Return the reply to a question; put the pieces of a streamed one."""
        # The clock starts when the row's turn comes, so that a queue fails nobody.
        await self.pace.turn(self.estimated_tokens(question))
        try:
            async with asyncio.timeout(self.config.deadline_s):
                return await self.ask_until_accepted(question, put)
        except TimeoutError:
            seconds = self.config.deadline_s
            return failed("DeadlineExceeded", f"no answer in {seconds} s")
        except OpenAIError as error:  # after the client's own attempts
            return failed(type(error).__name__, error)
        except Exception as error:  # a reply may have any shape; it costs its row only
            return failed("InvalidResponse", f"{type(error).__name__}: {error}")

    async def ask_until_accepted(self, question: Question, put: Put | None) -> Reply:
        """Ask, and again without each field that the service calls unsupported.

        What is left out is remembered once an answer came: a text that the service
        quotes in an error can't switch a field off for others.
        """
        left_out = list(self.unsupported)
        while True:
            fields = self.optional_fields(left_out, streamed=put is not None)
            try:
                response = await self.create(question, fields, put)
            except APIStatusError as error:
                name = unsupported_field(error, fields)
                if name is None:
                    raise
                left_out.append(name)
                await self.pace.turn(self.estimated_tokens(question))
                continue
            reply = read_response(response, self.chat)
            if reply.error is None:
                new = [name for name in left_out if name not in self.unsupported]
                self.unsupported.extend(new)
            return replace(reply, unsupported=", ".join(left_out) or None)

    async def create(self, question: Question, fields: Fields, put: Put | None) -> Any:
        """Return the service's response; put the pieces of a streamed one."""
        api: Any = self.client.responses
        name = "input"
        if self.chat:
            api = self.client.chat.completions
            name = "messages"
        streamed = put is not None
        response = await api.create(
            **{name: question}, model=self.model, stream=streamed, extra_body=fields
        )
        if put is None:
            return response
        follow = follow_chat if self.chat else follow_responses
        return await follow(response, put)

    def optional_fields(self, left_out: list[str], streamed: bool) -> Fields:
        """Return the fields that a service may not know, without those left out."""
        form = {"name": "answer", "strict": True, "schema": self.schema}
        tokens = self.config.max_output_tokens
        fields: Fields
        if self.chat:
            schema = {"type": "json_schema", "json_schema": form}
            fields = {"max_completion_tokens": tokens, "response_format": schema}
            if streamed:
                fields["stream_options"] = {"include_usage": True}
        else:
            fields = {"max_output_tokens": tokens}
            fields["text"] = {"format": {"type": "json_schema", **form}}
        fields |= {"store": False} | self.config.request
        for name in left_out:
            value = fields.pop(name, None)
            if name in RENAMED:
                fields[RENAMED[name]] = value
        return {name: value for name, value in fields.items() if value is not None}

    def estimated_tokens(self, question: Question) -> float:
        """Return about how many tokens a request takes: four characters are one."""
        characters = sum(len(message["content"]) for message in question)
        return characters / 4 + self.config.max_output_tokens


async def follow_chat(events: Any, put: Put) -> Any:
    """Put the pieces of a Chat Completions stream; return the whole response."""
    state = ChatCompletionStreamState()
    async for event in events:
        state.handle_chunk(event)
        piece = event.choices[0].delta.content if event.choices else None
        if piece:
            put(piece)
    return state.current_completion_snapshot


async def follow_responses(events: Any, put: Put) -> Any:
    """Put the pieces of a Responses stream; return the whole response."""
    response = None
    async for event in events:
        response = getattr(event, "response", response)
        if event.type == "response.output_text.delta" and event.delta:
            put(event.delta)
    return response


def check_key(key: str) -> None:
    """Refuse a key that no header can carry: the client's errors would quote it."""
    if key != key.strip() or not (key.isascii() and key.isprintable()):
        raise mlflow.MlflowException.invalid_parameter_value(
            "OPENAI_API_KEY has blanks around it, a line break or a letter beyond "
            "ASCII; set it again without"
        )
