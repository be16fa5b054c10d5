"""Read thousands of texts of customer feedback with a language-model service that misbehaves.

The endpoint comes from the environment at predict time, and with it the key: see
`openai_batch_client`, the package beside this file that talks to the service.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

import httpx2
import mlflow
import pandas as pd
from openai_batch_client import Config, Reply, Service, Strict
from pydantic import Field, ValidationError

MAX_CHARS = 4000  # of a text
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


class Feedback(Strict):
    """What a customer says; its JSON schema goes with each request, and each answer must fit."""

    product: str | None
    price: float | None  # US dollars
    sentiment: Literal["positive", "negative"]


class Params(Strict):
    """Prices in US dollars per million tokens fill `cost`; a dry run checks texts, calls nobody."""

    input_price: float | None = Field(None, ge=0, le=1e6)
    output_price: float | None = Field(None, ge=0, le=1e6)
    dry_run: bool = False


TOKENS = ["input_tokens", "output_tokens"]
COLUMNS = [*Feedback.model_fields, *TOKENS, "cost", "error", "detail"]


def question(text: str) -> list[dict[str, str]]:
    """Return the conversation that asks about one text."""
    return [{"role": role, "content": said} for role, said in [*PROMPT, ("user", text)]]


def grounded(answer: Strict, text: str) -> dict[str, Any]:
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


def row(reply: Reply, text: str, params: Params) -> dict[str, Any]:
    """Return the output row of one reply."""
    fields: dict[str, Any] = {"error": reply.error, "detail": reply.detail}
    if reply.error is None:
        said = reply.text.rpartition("</think>")[2]
        try:  # without the fence around the JSON, if any
            answer = Feedback.model_validate_json(
                said[said.find("{") : said.rfind("}") + 1]
            )
            fields = grounded(answer, text)
        except ValidationError:
            detail = f"not of the schema: {reply.text!r:.200}"
            fields = {"error": "InvalidResponse", "detail": detail}
    fields |= {name: getattr(reply, name) for name in TOKENS}
    if params.input_price is not None and params.output_price is not None:
        cost = (
            reply.input_tokens * params.input_price
            + reply.output_tokens * params.output_price
        )
        fields["cost"] = cost / 1e6
    return dict.fromkeys(COLUMNS) | fields


def not_asked(label: Any, text: Any, dry_run: bool) -> Reply | None:
    """Return the reply to a text that no service is asked about, None for one that is."""
    good = isinstance(text, str) and text.strip() and len(text) <= MAX_CHARS
    if not good or re.search("[\ud800-\udfff]", text):
        detail = f"column 'text', row {label!r:.80}: need 1 to {MAX_CHARS} characters: {text!r:.80}"
        return Reply(error="InvalidInput", detail=detail)
    return Reply(error="DryRun", detail="nothing was sent") if dry_run else None


class FeedbackReader(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.config = Config(**(context.model_config or {}))
        self.tls = (
            httpx2.create_ssl_context()
        )  # takes several times as long as a call, so once

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return a row for each text in column `text`; one that fails leaves the others be."""
        if list(getattr(model_input, "columns", [])).count("text") != 1:
            raise mlflow.MlflowException.invalid_parameter_value(
                "need one column 'text'"
            )
        texts = model_input["text"]
        given, replies, service = self.prepare(texts, params)
        questions = [
            question(t) for t, r in zip(texts, replies, strict=True) if r is None
        ]
        answers = iter(service.ask(questions) if service else [])
        rows = [
            row(r or next(answers), t, given)
            for r, t in zip(replies, texts, strict=True)
        ]
        return pd.DataFrame(
            rows, index=model_input.index, columns=COLUMNS, dtype=object
        )

    def predict_stream(
        self,
        context: Any,
        model_input: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield {"delta": "..."} as the answer to {"text": "..."} comes in, then its whole row."""
        text: Any = model_input.get("text") if isinstance(model_input, dict) else None
        given, replies, service = self.prepare(pd.Series([text], dtype=object), params)
        for piece in service.stream(question(text)) if service else replies:
            yield (
                {"delta": piece} if isinstance(piece, str) else row(piece, text, given)
            )

    def prepare(self, texts: pd.Series, params: dict[str, Any] | None) -> Any:
        """Return the params, a reply or None for each text, and a service if there is a None."""
        try:
            given = Params(**(params or {}))
            replies = [
                not_asked(label, text, given.dry_run) for label, text in texts.items()
            ]
            schema = Feedback.model_json_schema()
            return (
                given,
                replies,
                Service(schema, self.config, self.tls) if None in replies else None,
            )
        except (
            ValueError
        ) as error:  # of the params, or the environment names no endpoint
            problem = " ".join(str(error).split())[:300]
        raise mlflow.MlflowException.invalid_parameter_value(problem)


mlflow.models.set_model(FeedbackReader())
