"""Read customer feedback with a language-model service: product, price and sentiment.

The service is the one that OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL name when
`predict` runs; without OPENAI_BASE_URL it is the vendor's.

`driver.py` logs this file by its path: MLflow stores its text and runs it again at each
load. The last line says which object is the model.
"""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from importlib.util import find_spec
from queue import Empty, Queue
from threading import Thread
from typing import Annotated, Any, Literal
from urllib.request import getproxies

import mlflow
import pandas as pd
from openai import DefaultHttpxClient, OpenAI, OpenAIError
from pydantic import (
    AnyHttpUrl,
    BaseModel,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

# Annotated[..., QUOTED] marks a field whose value must be copied from the text.
# Pydantic keeps the mark as the field's metadata, where `without_made_up` looks for it.
QUOTED = "copied from the text"


class Feedback(BaseModel, extra="forbid", strict=True, allow_inf_nan=False):
    """What a customer says. Each answer of the service must have this form."""

    product: Annotated[str | None, QUOTED]
    price: Annotated[float | None, QUOTED]  # US dollars
    sentiment: Literal["positive", "negative"]


INSTRUCTION = (
    "Read the customer feedback: sentiment, the product named, the price in dollars."
)
EXAMPLES = [  # answered texts that go along with each request
    (
        "The Harbor espresso machine is fantastic, worth every bit of the $199.",
        Feedback(product="Harbor espresso machine", price=199, sentiment="positive"),
    ),
    (
        "The Cobalt backpack for $35.50 ripped at once, awful.",
        Feedback(product="Cobalt backpack", price=35.5, sentiment="negative"),
    ),
]
SCHEMA = Feedback.model_json_schema()
RESPONSE_FORMATS = {
    "json_schema": {
        "type": "json_schema",
        "json_schema": {"name": "feedback", "strict": True, "schema": SCHEMA},
    },
    "json_object": {"type": "json_object"},
}


class Settings(BaseModel, extra="forbid"):
    """What `model_config` may set when the model is logged or loaded."""

    request: dict[str, Any] = {}  # fields of a request beside model and messages
    response_format: Literal["json_schema", "json_object"] | None = "json_schema"
    row_seconds: PositiveFloat = 120  # a row that takes longer ends in an error
    retries: NonNegativeInt = 2  # after the first attempt
    calls_at_once: PositiveInt = 8


MAX_CHARACTERS = 4000  # of a text
VENDOR = "https://api.openai.com/v1"  # called if OPENAI_BASE_URL is not set

Row = dict[str, Any]
EMPTY_ROW: Row = {
    **dict.fromkeys(Feedback.model_fields),
    "made_up": None,  # names of quoted fields whose value the text doesn't contain
    "input_tokens": 0,
    "output_tokens": 0,
    "error": None,
    "detail": None,
}


def messages(text: str, settings: Settings) -> list[Any]:
    """Return the conversation: instruction, examples with their answers, the text."""
    instruction = INSTRUCTION
    if settings.response_format != "json_schema":
        instruction += f" Answer in JSON of this schema: {json.dumps(SCHEMA)}"
    conversation = [{"role": "system", "content": instruction}]
    for example, answer in EXAMPLES:
        conversation.append({"role": "user", "content": example})
        answer_json = json.dumps(answer.model_dump(mode="json"))
        conversation.append({"role": "assistant", "content": answer_json})
    conversation.append({"role": "user", "content": text})
    return conversation


def ask(client: OpenAI, settings: Settings, text: str) -> Any:
    """Send the request about one text and return the response."""
    fields = dict(settings.request)
    if settings.response_format:
        fields["response_format"] = RESPONSE_FORMATS[settings.response_format]
    return client.chat.completions.create(
        model=os.environ["OPENAI_MODEL"],
        messages=messages(text, settings),
        extra_body=fields,  # sent as they are, whether the client knows them or not
    )


def read(client: OpenAI, settings: Settings, label: Any, text: Any) -> Row:
    """Return the row of one text: what the service answers, or a typed error.

    `label` is the text's row in the table, for an error's message.
    """
    if not is_valid(text):
        return invalid_row(label, text)
    row: Row = {}  # what is known if the answer fails
    try:
        response = ask(client, settings, text)
        row = token_counts(response)  # paid for, whatever comes below
        return row | answer_row(response, text)
    except OpenAIError as error:  # after the client's own retries
        return row | error_row(type(error).__name__, service_words(error, settings))
    except Exception as error:  # a response not of the API's form, or not of Feedback's
        return row | error_row("InvalidResponse", f"{type(error).__name__}: {error}")


def answer_row(response: Any, text: str) -> Row:
    """Return the fields of an answer, or the reason why there is none."""
    if getattr(response, "error", None):  # some services send one with status 200
        return error_row("ServiceError", response.error)
    choice = response.choices[0]
    content = choice.message.content or ""
    if choice.message.refusal:
        return error_row("Refused", choice.message.refusal)
    if choice.message.tool_calls:
        return error_row("ToolCalls", choice.message.tool_calls)
    if choice.finish_reason == "length":
        return error_row("Truncated", f"cut at the token limit: {content}")
    if choice.finish_reason == "content_filter":
        return error_row("ContentFilter", f"withheld by the service: {content}")
    answer = Feedback.model_validate_json(json_part(content))
    return without_made_up(answer, text)


def json_part(content: str) -> str:
    """Return an answer's JSON, without reasoning before it or a fence around it."""
    answer = content.split("</think>")[-1]
    json_object = re.search(r"\{.*\}", answer, re.DOTALL)
    return json_object[0] if json_object else answer


def without_made_up(answer: Feedback, text: str) -> Row:
    """Empty each quoted field that does not occur in the text, and list its name."""
    row = answer.model_dump(mode="json")
    made_up = []
    for name, field in Feedback.model_fields.items():
        is_quoted = QUOTED in field.metadata and row[name] is not None
        if is_quoted and not occurs(row[name], text):
            made_up.append(name)
            row[name] = None
    row["made_up"] = ", ".join(made_up) or None
    return row


def occurs(value: str | float, text: str) -> bool:
    """Return whether the text contains this word, or this number, such as 1,050.00."""
    if isinstance(value, str):
        return value.casefold() in text.casefold()
    # Finds 1,050.00 and -3, but not the 9 of "A9": no letter stands before a number.
    numbers = re.findall(r"(?<!\w)-?\d[\d,]*(?:\.\d+)?", text)
    return value in [float(number.replace(",", "")) for number in numbers]


def read_all(texts: pd.Series, settings: Settings) -> list[Row]:
    """Return a row for each text, in their order."""
    if not any(map(is_valid, texts)):  # nobody is called, so no key is needed
        return [invalid_row(label, text) for label, text in texts.items()]
    # MLflow's context says which model a trace belongs to. A thread starts without it,
    # so that each call gets a copy.
    context = copy_context()
    with (
        connect(settings) as client,
        ThreadPoolExecutor(settings.calls_at_once) as pool,
    ):

        def read_one(label: Any, text: Any) -> Row:
            call = partial(context.copy().run, read, client, settings, label, text)
            return in_time(call, settings.row_seconds)

        return list(pool.map(read_one, texts.index, texts))


class FeedbackReader(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.settings = Settings(**(context.model_config or {}))

    def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each text in column `text`: fields, or the text's error."""
        try:
            check_table(model_input)
            rows = read_all(model_input["text"], self.settings)
        except ValueError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        full_rows = [EMPTY_ROW | row for row in rows]
        return pd.DataFrame(
            full_rows, index=model_input.index, columns=list(EMPTY_ROW), dtype=object
        )


# What the calls rest on: a time limit, a connection, and checks of what comes in.


def in_time(call: Callable[[], Row], seconds: float) -> Row:
    """Return the row of a call, or an error row if it takes longer.

    The call runs in a thread of its own. A daemon thread that hangs holds up neither
    the pool nor the end of the program.
    """
    rows: Queue[Row] = Queue()
    Thread(target=lambda: rows.put(call()), daemon=True).start()
    try:
        return rows.get(timeout=seconds)
    except Empty:
        return error_row("DeadlineExceeded", f"no answer within {seconds:g} seconds")


def connect(settings: Settings) -> OpenAI:
    """Return a client of the service that the environment names."""
    address = service_address()
    check_model_and_key(address)
    check_proxy(address)
    return OpenAI(
        base_url=str(address),
        timeout=settings.row_seconds,  # for the next byte; `in_time` bounds the whole
        max_retries=settings.retries,
        http_client=DefaultHttpxClient(
            follow_redirects=False,
            trust_env=not is_local(address),  # no proxy on the way to this machine
        ),
    )


def check_table(table: Any) -> None:
    """Refuse what is no table with one column `text`."""
    if list(getattr(table, "columns", [])).count("text") != 1:
        raise ValueError("give a table with one column 'text'")


def is_valid(text: Any) -> bool:
    """Return whether this is a text that can be sent, neither blank nor too long."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return False
    has_surrogate = re.search("[\ud800-\udfff]", text)  # which UTF-8 can't encode
    return bool(text.strip()) and not has_surrogate


def invalid_row(label: Any, text: Any) -> Row:
    """Return the row of a text that is not sent."""
    need = f"column 'text', row {label!r:.80}: need 1 to {MAX_CHARACTERS} characters"
    return error_row("InvalidInput", f"{need}: {text!r:.80}")


def service_address() -> AnyHttpUrl:
    """Return the address that OPENAI_BASE_URL names, or else the vendor's."""
    try:
        return AnyHttpUrl(os.environ.get("OPENAI_BASE_URL") or VENDOR)
    except ValidationError:  # its own text would quote a password in the address
        example = "http://127.0.0.1:8000/v1"
        raise ValueError(
            f"OPENAI_BASE_URL is no address: give one such as {example}"
        ) from None


def is_local(address: AnyHttpUrl) -> bool:
    """Return whether the service runs on this machine."""
    return address.host in ("127.0.0.1", "localhost", "[::1]")


def check_model_and_key(address: AnyHttpUrl) -> None:
    """Refuse a missing model and a key that no service can accept."""
    key = os.environ.get("OPENAI_API_KEY", "")
    if not os.environ.get("OPENAI_MODEL"):
        raise ValueError("OPENAI_MODEL is not set: name a model of the service")
    if not key:
        raise ValueError(
            "OPENAI_API_KEY is not set: give your key, or any word if it needs none"
        )
    if not re.fullmatch("[!-~]+", key):  # visible ASCII
        raise ValueError(
            "OPENAI_API_KEY has a blank, a line break or a special letter: remove it"
        )
    if address.host == AnyHttpUrl(VENDOR).host and len(key) < 40:
        raise ValueError(
            f"OPENAI_API_KEY is a placeholder, no key of {address.host}: give a real "
            "key, or set OPENAI_BASE_URL to the service that you mean"
        )


def check_proxy(address: AnyHttpUrl) -> None:
    """Refuse a SOCKS proxy that the client has no package for."""
    uses_socks = any(proxy.startswith("socks") for proxy in getproxies().values())
    if uses_socks and not is_local(address) and not find_spec("socksio"):
        raise ValueError(
            "ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names a SOCKS proxy: "
            "install the package socksio, or unset the variable"
        )


def token_counts(response: Any) -> Row:
    """Return the tokens that the service says it used; 0 where it gives no count."""
    usage = getattr(response, "usage", None)
    return {
        "input_tokens": whole_number(getattr(usage, "prompt_tokens", 0)),
        "output_tokens": whole_number(getattr(usage, "completion_tokens", 0)),
    }


def whole_number(count: Any) -> int:
    """Return a count, or 0 if it is none: services have sent null, text and -1."""
    is_count = type(count) is int and 0 <= count <= 2**53
    return count if is_count else 0


def service_words(error: OpenAIError, settings: Settings) -> str:
    """Return what the service or the connection says, and which setting may help."""
    words = str(error)
    if re.fullmatch(r"Error code: \d+", words):  # the response's body had no message
        words += f" - {getattr(error, 'body', None)}"
    elif error.__cause__:
        words += f" {error.__cause__}"
    if getattr(error, "status_code", None) not in (400, 422):
        return words
    for field in settings.request:
        if re.search(rf"\b{field}\b", words):
            return f"drop {field!r} from `request` in model_config: {words}"
    if settings.response_format and re.search("response_format|schema", words):
        return f"set `response_format` in model_config to another value: {words}"
    return words


def error_row(name: str, detail: Any) -> Row:
    """Return the error's columns, the detail on one line and without the key."""
    words = " ".join(str(detail).split())
    words = words.encode(errors="replace").decode()  # JSON can't hold a surrogate
    key = os.environ.get("OPENAI_API_KEY", "")
    if len(key) >= 8:  # a shorter one is a placeholder such as "none"
        words = words.replace(key, "***")
    return {"error": name, "detail": words[:300]}


mlflow.models.set_model(FeedbackReader())
