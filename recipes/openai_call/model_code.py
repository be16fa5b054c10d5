"""Read customer feedback with a language-model service: product, price and sentiment per row.

The endpoint comes from the environment at predict time, and with it the key: see
`openai_call_client`, the package beside this file that talks to the service.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import httpx2
import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from openai_call_client import Messages, Reply, ask, stream
from pydantic import BaseModel, ConfigDict, ValidationError

CONFIG = {  # replace single keys with log_model(model_config=...) or load_model(model_config=...)
    "model": "SmolLM2-135M-Instruct",  # the environment's OPENAI_MODEL wins over it
    "api": "auto",  # "responses" or "chat"; auto: responses at the vendor's, chat elsewhere
    "request": {"temperature": 0},  # further fields of each request, in the service's own words
    "max_output_tokens": 100,
    "timeout_s": 20,  # of one attempt
    "max_retries": 2,
    "deadline_s": 60,  # of one row: all its attempts and the waits between them
    "concurrency": 8,
}
TASK = (
    "Read the customer feedback. "
    "Answer with its sentiment, the product it names and the price in dollars."
)
PROMPT = [  # two answered examples are enough for a small model; a text to be read comes last
    ("system", TASK),
    ("user", "The Harbor espresso machine is fantastic, worth every bit of the $199."),
    ("assistant", '{"product": "Harbor espresso machine", "price": 199, "sentiment": "positive"}'),
    ("user", "The Cobalt backpack for $35.50 ripped at once, awful."),
    ("assistant", '{"product": "Cobalt backpack", "price": 35.5, "sentiment": "negative"}'),
]
TOKENS = ["input_tokens", "output_tokens"]
COLUMNS = ["product", "price", "sentiment", *TOKENS, "cost", "error", "detail"]


class Feedback(BaseModel):
    """What a customer says; its JSON schema goes with each request, and each answer must fit."""

    model_config = ConfigDict(extra="forbid")

    product: str | None
    price: float | None  # US dollars
    sentiment: Literal["positive", "negative"]


SCHEMA = Feedback.model_json_schema()


def question(text: str) -> Messages:
    """Return the conversation that asks about one text."""
    return [{"role": role, "content": said} for role, said in [*PROMPT, ("user", text)]]


def grounded(feedback: Feedback, text: str) -> dict[str, Any]:
    """Return the fields, with None for a product or a price that the text does not contain.

    Asked for a field that is not there, a language model tends to invent one.
    """
    fields = feedback.model_dump()
    if fields["product"] and fields["product"].lower() not in text.lower():
        fields["product"] = None
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", text)
    if fields["price"] not in [float(number.replace(",", "")) for number in numbers]:
        fields["price"] = None
    return fields


def row(reply: Reply, text: str, prices: dict[str, float]) -> dict[str, Any]:
    """Return the output row of one reply; `prices` are USD per million tokens, {} for no cost."""
    fields: dict[str, Any] = {"error": reply.error, "detail": reply.detail}
    if reply.text is not None:
        try:
            fields = grounded(Feedback.model_validate_json(reply.text), text)
        except ValidationError:
            fields = {"error": "InvalidResponse", "detail": f"not of the schema: {reply.text}"}
    fields |= {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    if prices:
        cost = reply.input_tokens * prices["input"] + reply.output_tokens * prices["output"]
        fields["cost"] = cost / 1e6
    return dict.fromkeys(COLUMNS) | fields


def not_asked(label: Any, text: Any) -> Reply | None:
    """Return the reply to a text that is not worth a call, None for a good one."""
    if isinstance(text, str) and text.strip():
        return None
    return Reply(error="InvalidInput", detail=f"column 'text', row {label!r}: no text: {text!r}")


def checked(params: dict[str, Any] | None) -> tuple[dict[str, float], bool]:
    """Return the parameters `prices` and `dry_run`; prices are both given, or none."""
    prices, dry_run = (params or {}).get("prices") or {}, (params or {}).get("dry_run", False)
    if prices and not all(prices.get(side, -1) >= 0 for side in ("input", "output")):
        need = 'prices: need {"input": ..., "output": ...} in USD per million tokens, not negative'
        raise MlflowException.invalid_parameter_value(f"{need}; got {prices}")
    return prices, dry_run


class FeedbackReader(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.config = CONFIG | (context.model_config or {})
        if unknown := self.config.keys() - CONFIG.keys():
            raise ValueError(f"model_config has unknown keys {unknown}, known: {list(CONFIG)}")
        self.tls = httpx2.create_ssl_context()  # takes 40 ms, so not in every predict

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a row for each text in column `text`; one that fails leaves the others be.

        params: `prices`, {"input": ..., "output": ...} in USD per million tokens, fills the column
        `cost`; `dry_run` checks the texts and calls nobody.
        """
        prices, dry_run = checked(params)
        texts = model_input["text"]
        replies = [not_asked(label, text) for label, text in texts.items()]
        questions = [question(t) for t, r in zip(texts, replies, strict=True) if r is None]
        unsent = [Reply(error="DryRun", detail="nothing was sent")] * len(questions)
        answers = iter(unsent if dry_run else self.call(ask, questions))
        rows = [
            row(reply or next(answers), text, prices)
            for reply, text in zip(replies, texts, strict=True)
        ]
        table = pd.DataFrame(rows, index=model_input.index, columns=COLUMNS, dtype=object)
        return table.astype(dict.fromkeys(TOKENS, "int64"))

    def predict_stream(
        self, context: Any, model_input: dict[str, Any], params: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield {"delta": "..."} as the answer to {"text": "..."} comes in, then its whole row."""
        (prices, _), text = checked(params), model_input["text"]
        bad = not_asked(0, text)
        for piece in [bad] if bad else self.call(stream, question(text)):
            yield {"delta": piece} if isinstance(piece, str) else row(piece, text, prices)

    def call(self, function: Any, what: Any) -> Any:
        try:
            return function(what, SCHEMA, self.config, self.tls)
        except ValueError as error:  # the environment names no endpoint
            raise MlflowException(str(error)) from None


mlflow.models.set_model(FeedbackReader())
