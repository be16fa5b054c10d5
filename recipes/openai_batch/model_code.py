"""Read thousands of texts of customer feedback, many calls to a service at a time.

The driver logs this file by its path, with the package `openai_batch_client` that talks
to the service; MLflow stores the text of both and runs this file at each load. The last
line names the model.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import mlflow
import pandas as pd

# The client. `Service.ask` takes questions and returns a Reply for each: its text and
# tokens, or an error. `Service.stream` yields the pieces of one answer, and last its
# Reply. `Config` has what `model_config` may set; address and key are OPENAI_BASE_URL
# and OPENAI_API_KEY. `Strict` is a BaseModel that takes no other fields and types.
from openai_batch_client import Config, Reply, Service, Strict
from pydantic import Field, ValidationError

# Characters of a text; a longer one is refused.
MAX_CHARS = 4000
# What the service is told first.
TASK = "Read the customer feedback: sentiment, the product named, the price in dollars."
# Texts with their answers, shown to the service with every question. Asked about one of
# them, the model calls nobody: MLflow asks about both when the model is logged.
EXAMPLES = {
    "The Harbor espresso machine is fantastic, worth every bit of the $199.": {
        "product": "Harbor espresso machine",
        "price": 199,
        "sentiment": "positive",
    },
    "The Cobalt backpack for $35.50 ripped at once, awful.": {
        "product": "Cobalt backpack",
        "price": 35.5,
        "sentiment": "negative",
    },
}


class Feedback(Strict):
    """What a customer says. Its JSON schema goes with each request."""

    product: str | None
    price: float | None  # US dollars
    sentiment: Literal["positive", "negative"]


# Fields whose value must stand in the text. A service makes up a value where the text
# has none.
QUOTED = ["product", "price"]


class Params(Strict):
    """The params of a request: prices in US dollars per million tokens, for `cost`."""

    input_price: float | None = Field(None, ge=0, le=1e6)
    output_price: float | None = Field(None, ge=0, le=1e6)


COLUMNS = [*Feedback.model_fields, "made_up", "input_tokens", "output_tokens"]
COLUMNS += ["cost", "unsupported", "error", "detail"]


def question(text: str) -> list[dict[str, str]]:
    """Return the conversation that asks the service about a text."""
    messages = [{"role": "system", "content": TASK}]
    for example, answer in EXAMPLES.items():
        messages.append({"role": "user", "content": example})
        messages.append({"role": "assistant", "content": json.dumps(answer)})
    messages.append({"role": "user", "content": text})
    return messages


def stands_in(value: Any, text: str) -> bool:
    """Return whether a text holds a word or a number; 1,050.00 is the number 1050.

    Signs don't count: the text "-$5" holds the number 5.
    """
    if isinstance(value, str):
        return value.casefold() in text.casefold()
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", text)
    return abs(value) in [float(number.replace(",", "")) for number in numbers]


def read_answer(reply: Reply, text: str) -> dict[str, Any]:
    """Return the fields of an answer, without those that the service made up."""
    try:
        feedback = Feedback.model_validate_json(reply.json_text())
    except ValidationError:
        detail = f"not of the schema: {reply.text!r:.200}"
        return {"error": "InvalidResponse", "detail": detail}
    fields = feedback.model_dump()
    made_up = []
    for name in QUOTED:
        if fields[name] is not None and not stands_in(fields[name], text):
            fields[name] = None
            made_up.append(name)
    return fields | {"made_up": ", ".join(made_up) or None}


def cost(reply: Reply, params: Params) -> float | None:
    """Return what the call cost in US dollars; None without both prices."""
    if params.input_price is None or params.output_price is None:
        return None
    input_cost = reply.input_tokens * params.input_price
    output_cost = reply.output_tokens * params.output_price
    return (input_cost + output_cost) / 1e6


def row(reply: Reply, text: str, params: Params) -> dict[str, Any]:
    """Return the output row of a reply: an answer, or what went wrong."""
    fields: dict[str, Any] = dict.fromkeys(COLUMNS)
    fields["input_tokens"] = reply.input_tokens
    fields["output_tokens"] = reply.output_tokens
    fields["cost"] = cost(reply, params)  # also of a call that failed
    fields["unsupported"] = reply.unsupported  # request fields the service refused
    if reply.error:
        return fields | {"error": reply.error, "detail": reply.detail}
    return fields | read_answer(reply, text)


def reply_without_call(label: Any, text: Any) -> Reply | None:
    """Return the reply to an invalid text or an example; None for other texts."""
    problem = problem_of(label, text)
    if problem:
        return Reply(error="InvalidInput", detail=problem)
    if text in EXAMPLES:
        return Reply(text=json.dumps(EXAMPLES[text]))
    return None


class FeedbackReader(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        config = Config(**(context.model_config or {}))
        self.service = Service(Feedback.model_json_schema(), config)

    def predict(
        self,
        context: Any,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return a row for each text; one that fails does not affect the others."""
        prices = check_params(params)
        texts = check_table(model_input)
        replies = {}  # by the number of the row
        questions = {}
        for number, (label, text) in enumerate(texts.items()):
            reply = reply_without_call(label, text)
            if reply is None:
                questions[number] = question(text)
            else:
                replies[number] = reply
        answers = self.service.ask(list(questions.values()))
        # A call that failed has a reply too, with an error.
        replies.update(zip(questions, answers, strict=True))
        rows = [row(replies[n], text, prices) for n, text in enumerate(texts)]
        # Of objects, so that a missing value is null in JSON and not NaN.
        return pd.DataFrame(rows, index=texts.index, columns=COLUMNS, dtype=object)

    def predict_stream(
        self,
        context: Any,
        model_input: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the pieces of an answer, {"delta": ...}, and last its row.

        MLflow passes one row, as a dict, where `predict` is given a table.
        """
        prices = check_params(params)
        text: Any = None
        if isinstance(model_input, dict):
            text = model_input.get("text")
        reply = reply_without_call(0, text)
        if reply is not None:
            yield row(reply, text, prices)
            return
        for piece in self.service.stream(question(text)):
            if isinstance(piece, Reply):  # the last one
                yield row(piece, text, prices)
            else:
                yield {"delta": piece}


# The checks: what is refused, and what to do about it.


def check_table(table: Any) -> pd.Series:
    """Return the column of texts of a table."""
    if not isinstance(table, pd.DataFrame) or list(table.columns).count("text") != 1:
        raise mlflow.MlflowException.invalid_parameter_value(
            "give a table with one column 'text'"
        )
    return table["text"]


def check_params(params: dict[str, Any] | None) -> Params:
    """Return the params of a request, each known and of its type."""
    try:
        return Params(**(params or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise mlflow.MlflowException.invalid_parameter_value(
            f"params {name:.80}={first['input']!r:.80}: {first['msg']}"
        ) from None


def problem_of(label: Any, text: Any) -> str | None:
    """Return what is wrong with a text; None if it can be asked about."""
    if isinstance(text, str) and text.strip() and len(text) <= MAX_CHARS:
        has_surrogate = re.search("[\ud800-\udfff]", text)  # which UTF-8 can't encode
        if not has_surrogate:
            return None
    need = f"need 1 to {MAX_CHARS} characters, no surrogates"
    return f"column 'text', row {label!r:.80}: {need}: {text!r:.80}"


mlflow.models.set_model(FeedbackReader())
