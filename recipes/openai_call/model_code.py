"""Read customer feedback with a language-model service: product, price and sentiment of each text.

OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL are read from the environment when predict runs.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from typing import Any, Literal, get_args

import httpx2
import mlflow
import pandas as pd
from openai import OpenAI, OpenAIError
from pydantic import BaseModel, ConfigDict

MODEL = "SmolLM2-135M-Instruct"  # OPENAI_MODEL wins over it
REQUEST: Any = {"temperature": 0, "max_completion_tokens": 100, "store": False}
LIMITS: Any = {
    "timeout": 20,
    "max_retries": 2,
}  # seconds of silence; attempts after the first
AT_A_TIME, MAX_CHARS = 8, 4000  # open calls; of a text
TLS = httpx2.create_ssl_context()  # takes several times as long as a call, so once
PROMPT = [  # two answered examples are enough for a small model; the text to be read comes last
    (
        "system",
        "Read the customer feedback: sentiment, the product named, the price in dollars.",
    ),
    ("user", "The Harbor espresso machine is fantastic, worth every bit of the $199."),
    (
        "assistant",
        '{"product": "Harbor espresso machine", "price": 199, "sentiment": "positive"}',
    ),
    ("user", "The Cobalt backpack for $35.50 ripped at once, awful."),
    (
        "assistant",
        '{"product": "Cobalt backpack", "price": 35.5, "sentiment": "negative"}',
    ),
]


class Feedback(BaseModel):
    """What a customer says; its JSON schema goes with each request, and each answer must fit."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    product: str | None
    price: float | None  # US dollars
    sentiment: Literal["positive", "negative"]


TOKENS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
EMPTY: dict[str, Any] = dict.fromkeys(
    [*Feedback.model_fields, *TOKENS, "error", "detail"]
)
EMPTY |= dict.fromkeys(TOKENS, 0)


class Keyless(httpx2.Client):
    """Follows no redirect, and blots the key out before rows, errors and traces see a reply."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        reply = super().send(request, **options)
        key = request.headers.get("Authorization", "").partition(" ")[2]
        if len(key) < 8:  # a placeholder, for a service that wants none
            return reply
        head = {k: v.replace(key, "***") for k, v in reply.headers.items()}
        head.pop("content-encoding", None)  # what is read here is decoded already
        body = reply.content.replace(key.encode(), b"***")
        return httpx2.Response(
            reply.status_code, headers=head, content=body, request=request
        )


def grounded(answer: BaseModel, text: str) -> dict[str, Any]:
    """Return the fields; words and numbers that don't stand in the text were made up: None."""
    fields = answer.model_dump()
    said = [
        float(n.replace(",", ""))
        for n in re.findall(r"(?:(?<!\w)-)?\d[\d,]*(?:\.\d+)?", text)
    ]
    for name, field in type(answer).model_fields.items():
        value, kinds = fields[name], get_args(field.annotation) or [field.annotation]
        words = (
            type(value) is str and str in kinds
        )  # one of a Literal's need not be in the text
        invented = words and value.casefold() not in text.casefold()
        if invented or (type(value) in (int, float) and value not in said):
            fields[name] = None
    return fields


def readable(text: Any) -> bool:
    """Return whether it is a text worth a call: not blank, not too long, no half of a surrogate."""
    good = isinstance(text, str) and text.strip() and len(text) <= MAX_CHARS
    return bool(good and not re.search("[\ud800-\udfff]", text))


def read(client: Any, row: Any, text: Any) -> dict[str, Any]:
    """Return the fields of one text; what goes wrong with it is in `error` and `detail`."""
    fields = dict(EMPTY)
    if not readable(text):
        detail = f"column 'text', row {row!r:.80}: need 1 to {MAX_CHARS} characters: {text!r:.80}"
        return fields | {"error": "InvalidInput", "detail": detail}
    form = {"name": "answer", "strict": True, "schema": Feedback.model_json_schema()}
    try:
        reply = client.chat.completions.create(
            model=os.environ.get("OPENAI_MODEL") or MODEL,
            messages=[
                {"role": role, "content": said}
                for role, said in [*PROMPT, ("user", text)]
            ],
            response_format={"type": "json_schema", "json_schema": form},
            **REQUEST,
        )
        for ours, theirs in TOKENS.items():
            count = getattr(getattr(reply, "usage", None), theirs, 0)
            fields[ours] = count if type(count) is int and 0 <= count <= 2**53 else 0
        said = reply.choices[0].message.content.rpartition("</think>")[2]
        json = said[
            said.find("{") : said.rfind("}") + 1
        ]  # without the fence around it, if any
        return fields | grounded(Feedback.model_validate_json(json), text)
    except OpenAIError as error:  # after the client's own retries
        name, detail = type(error).__name__, str(error)
    except Exception as error:  # whatever shape a reply has, it costs its own row only
        name, detail = "InvalidResponse", f"{type(error).__name__}: {error}"
    return fields | {
        "error": name,
        "detail": detail.encode(errors="replace").decode()[:300],
    }


class FeedbackReader(mlflow.pyfunc.PythonModel):
    def predict(self, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each text in column `text`; one that fails leaves the others be."""
        try:
            if not os.environ.get(
                "OPENAI_API_KEY", ""
            ).isprintable():  # errors would quote it
                raise ValueError("OPENAI_API_KEY holds a line break or the like")
            if list(getattr(model_input, "columns", [])).count("text") != 1:
                raise ValueError("need a table with one column 'text'")
            texts = model_input["text"]
            client: Any = nullcontext()
            if any(map(readable, texts)):  # or nobody is called, and no key is needed
                client = OpenAI(**LIMITS, http_client=Keyless(verify=TLS))
        except (ValueError, OpenAIError, httpx2.InvalidURL) as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from None
        # Each call has a copy of the context, or its trace would not belong to this model.
        calls = [
            partial(copy_context().run, read, client, *row) for row in texts.items()
        ]
        with (
            client,
            ThreadPoolExecutor(AT_A_TIME) as pool,
        ):  # after Ctrl-C map starts no more calls
            rows = list(pool.map(lambda call: call(), calls))
        return pd.DataFrame(
            rows, index=model_input.index, columns=list(EMPTY), dtype=object
        )


mlflow.models.set_model(FeedbackReader())
