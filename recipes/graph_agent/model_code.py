"""Answer a shop's clerk in words: forecast what a customer will spend, or refund one
after a yes.

The steps are a LangGraph graph:

    understand -> forecast
               -> approve, which stops for a person -> book -> letter
               -> ask, which stops for what is missing -> one of these
               -> offer_help, give_up

Each conversation is a thread of the graph. Its state is kept after each step, so it can
wait for a person's yes for days, and the server may restart meanwhile.

The driver logs this file by its path; MLflow stores its text and runs it at each load.
The last line names the model.
"""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal, TypedDict
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, StateSnapshot, interrupt
from mlflow.entities import SpanType
from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT, TEMPORARILY_UNAVAILABLE
from mlflow.tracing.constant import SpanAttributeKey, TraceMetadataKey
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)
from openai import OpenAI

# A message means what the nearest of these examples means; its numbers don't count.
EXAMPLES = {
    "forecast": [
        "What is customer 17 worth?",
        "How much will client 250 spend next year?",
        "CLV of number 9",
        "Forecast the orders of customer 120 for 12 weeks",
        "Is customer 33 going to buy again?",
    ],
    "refund": [
        "Refund customer 5 twenty dollars",
        "Please give 12.50 back to customer 81",
        "Pay customer 64 back 35 dollars",
        "Reimburse client 7 for the broken disc, $9.99",
        "I want to return money to customer 90",
    ],
    "follow_up": [  # the last forecast again, for another customer or other weeks
        "And customer 18?",
        "What about 250?",
        "and number 9",
        "the same for client 33",
        "the same question about number 40",
        "now for 12 weeks please",
    ],
    "other": [
        "Hello there",
        "What is the weather tomorrow?",
        "Write me a poem about cats",
        "Thanks, that's all",
        "Who won the world cup?",
        "How many refunds were there in May?",
        "Don't give customer 8 any money back",
        "Where did the order of client 12 go?",
        "Remove client 4 from our records",
    ],
}
EMBEDDING_MODEL = "text-embedding-3-small"  # if OPENAI_EMBEDDING_MODEL names none
LEAST_SIMILARITY = 0.35  # below it to every example, a message is "other"
NEEDED = {"forecast": ["customer"], "refund": ["customer", "amount"], "other": []}
QUESTIONS = {
    "customer": "Which customer? Give a number of our list.",
    "amount": "How many dollars?",
}
MOST_QUESTIONS = 2  # about what a message lacks; then the desk gives up
HIGHEST_REFUND = 5000.0  # dollars
WEEKS = 39  # ahead, unless the message says how many
YES = {"yes", "yes please", "y"}  # after any other reply no refund is booked
NO = {"no", "n", "stop", "cancel"}
HELP = "I forecast what a customer will spend, or refund one. Which is it?"
ANSWERED = "Another message has answered that already."
FORECAST_MODEL = "clv_composite"  # the tool, a registered model
FORECAST_ALIAS = "champion"
LETTER = (
    "Write one polite sentence to a customer: we are sorry, and your money is on its "
    "way back."
)
MAX_CHARS = 1000  # of a message

# An amount is a number after $ or before "dollars", or one with cents.
# 12 or 1,250: no part of a longer number, and no minus before it
WHOLE = r"(?<![\d.,-])(?:\d{1,3}(?:,\d{3})+|\d+)"
END_OF_NUMBER = r"(?![.,]?\d)"
DOLLARS = rf"({WHOLE}(?:\.\d\d?)?){END_OF_NUMBER}"  # 12, 12.5 or 12.50
CENTS = rf"({WHOLE}\.\d\d){END_OF_NUMBER}"  # 12.50
AMOUNT = re.compile(rf"\$\s*{DOLLARS}|{DOLLARS}\s*(?:dollars?|bucks)\b|{CENTS}")
BARE_AMOUNT = re.compile(rf"\s*{DOLLARS}\s*")  # what answers "How many dollars?"
WEEK_COUNT = re.compile(r"\b(\d{1,9}) weeks?\b")
CUSTOMER = re.compile(r"(?:customer|client|number) (\d{1,9})\b")
WHOLE_NUMBER = re.compile(r"\b\d{1,9}\b")


class State(TypedDict, total=False):
    """What a conversation remembers."""

    message: str  # the person's last one
    intent: str
    customer: Any  # a number, or None
    amount: Any  # dollars, or None
    weeks: int
    questions: int  # asked about what was missing
    task: str  # an id of what is being done, a refund's key; empty once that is done
    answer: str


@dataclass
class Shop:
    """What the steps use and no conversation holds: customers, and a book of refunds.

    In your shop, `book` calls the payment service, which takes the key too.
    """

    customers: pd.DataFrame
    refunds: sqlite3.Connection
    lock: Any = field(default_factory=threading.Lock)

    def book(self, key: str, customer: int, amount: float) -> int:
        """Book a refund and return its number; once for each key."""
        refund = (key, customer, amount)
        insert = "insert or ignore into refunds (key, customer, amount) values (?,?,?)"
        with self.lock, self.refunds:
            self.refunds.execute(insert, refund)
            query = "select number from refunds where key = ?"
            return int(self.refunds.execute(query, [key]).fetchone()[0])


def connect_db(file: str) -> sqlite3.Connection:
    """Open the file; a writer waits up to 20 s for another one."""
    return sqlite3.connect(file, timeout=20, check_same_thread=False)


# Read a message: the intent by its nearest example, numbers by patterns.


def nearest_intent(message: str) -> str:
    intents, vectors = example_vectors()
    similarities = vectors @ embed([message])[0]
    nearest = int(similarities.argmax())
    if similarities[nearest] < LEAST_SIMILARITY:
        return "other"
    return intents[nearest]


@cache
def example_vectors() -> tuple[list[str], np.ndarray]:
    """Return each example's intent and vector; embedded once, at the first message."""
    intents: list[str] = []
    texts: list[str] = []
    for intent, examples in EXAMPLES.items():
        intents += [intent] * len(examples)
        texts += examples
    return intents, embed(texts)


@mlflow.trace(span_type=SpanType.EMBEDDING)
def embed(texts: list[str]) -> np.ndarray:
    """Return a vector of length 1 for each text, without its numbers."""
    words = [re.sub(r"\$?\d[\d.,]*", "", text).strip() or text for text in texts]
    with service("OPENAI_EMBEDDING") as client:
        model = os.environ.get("OPENAI_EMBEDDING_MODEL", EMBEDDING_MODEL)
        reply = client.embeddings.create(
            model=model, input=words, encoding_format="float"
        )
        count_tokens(reply)
        vectors = np.array([each.embedding for each in reply.data])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_numbers(message: str) -> dict[str, Any]:
    """Return the amount, weeks and customer that the message names."""
    numbers: dict[str, Any] = {}
    text = message.lower()
    amount = AMOUNT.search(text)
    if amount:
        digits = amount[1] or amount[2] or amount[3]  # one of the three patterns
        numbers["amount"] = float(digits.replace(",", ""))
        text = AMOUNT.sub("", text)
    weeks = WEEK_COUNT.search(text)
    if weeks:
        numbers["weeks"] = int(weeks[1])
        text = WEEK_COUNT.sub("", text)
    customer = CUSTOMER.search(text)
    number = WHOLE_NUMBER.search(text)
    if customer:
        numbers["customer"] = int(customer[1])
    elif number:
        numbers["customer"] = int(number[0])
    return numbers


# The steps: each takes the state and returns what changes. LangGraph hands `runtime`
# to a step that declares it; `runtime.context` is the Shop.


def understand(state: State, runtime: Runtime[Shop]) -> State:
    """Read the message.

    The customer stays the last one that was named. A follow-up keeps the weeks, too.
    """
    numbers = read_numbers(state["message"])
    intent = nearest_intent(state["message"])
    weeks = WEEKS
    if intent == "follow_up":
        intent = "forecast" if state.get("intent") == "forecast" else "other"
        weeks = state.get("weeks", WEEKS)
    return {
        "intent": intent,
        "customer": numbers.get("customer", state.get("customer")),
        "amount": numbers.get("amount"),
        "weeks": numbers.get("weeks", weeks),
        "questions": 0,
        "task": uuid4().hex,  # made once, before `approve` stops
    }


def missing(state: State, shop: Shop) -> list[str]:
    """Return which numbers the task needs and the state hasn't, or not a valid one."""
    amount = state["amount"] or 0
    valid = {
        "customer": state["customer"] in shop.customers.index,
        "amount": 0 < amount <= HIGHEST_REFUND,
    }
    return [name for name in NEEDED[state["intent"]] if not valid[name]]


def next_step(state: State, runtime: Runtime[Shop]) -> str:
    """Return the step after `understand`, and after `ask`."""
    if missing(state, runtime.context):
        return "ask" if state["questions"] < MOST_QUESTIONS else "give_up"
    following = {"forecast": "forecast", "refund": "approve", "other": "offer_help"}
    return following[state["intent"]]


def ask(state: State, runtime: Runtime[Shop]) -> State:
    """Ask for what is missing, and wait: the next message is the reply."""
    names = missing(state, runtime.context)
    reply = interrupt(" ".join(QUESTIONS[name] for name in names))
    numbers = read_numbers(reply)
    bare_amount = BARE_AMOUNT.fullmatch(reply)
    if names == ["amount"] and bare_amount:
        numbers["amount"] = float(bare_amount[1].replace(",", ""))
    update: State = {"questions": state["questions"] + 1}
    if "customer" in names:
        update["customer"] = numbers.get("customer")
    if "amount" in names:
        update["amount"] = numbers.get("amount")
    return update


def give_up(state: State) -> State:
    return {"answer": "A number is still missing: nothing was done.", "task": ""}


def offer_help(state: State) -> State:
    return {"answer": HELP, "task": ""}


def forecast(state: State, runtime: Runtime[Shop]) -> State:
    """Ask the tool, the registered model, and put its figures into a sentence."""
    rows = runtime.context.customers.loc[[state["customer"]]]
    row = forecast_spending(rows, state["weeks"])
    answer = (
        f"Customer {state['customer']} will spend about ${row['clv']:,.2f} in the next "
        f"{state['weeks']} weeks, in {row['expected_purchases']:.2f} orders."
    )
    return {"answer": answer, "task": ""}


@mlflow.trace(span_type=SpanType.TOOL)
def forecast_spending(customers: pd.DataFrame, weeks: int) -> dict[str, float]:
    with failure_as_503(f"loading models:/{FORECAST_MODEL}@{FORECAST_ALIAS}"):
        client = mlflow.MlflowClient()
        version = client.get_model_version_by_alias(FORECAST_MODEL, FORECAST_ALIAS)
        model = load_version(f"models:/{FORECAST_MODEL}/{version.version}")
    table = model.predict(customers, params={"horizon_weeks": float(weeks)})
    return dict(table.iloc[0])


@lru_cache(maxsize=1)
def load_version(uri: str) -> Any:
    """Load a version once; the alias, which may move, is looked up each time."""
    return mlflow.pyfunc.load_model(uri)


def approve(state: State) -> Command[Literal["book", "understand", "__end__"]]:
    """Show what was understood, and wait for a yes.

    When the reply comes, LangGraph runs this step again from its first line, and
    `interrupt` returns the reply. So nothing is booked here.
    """
    reply = interrupt(
        f"Refund ${state['amount']:,.2f} to customer {state['customer']}? "
        "Answer yes or no."
    )
    word = reply.strip(" .!").lower()
    if word in YES:
        return Command(goto="book")
    # The line ends here: another answer may follow.
    refused: State = {"answer": "No refund was made.\n", "task": ""}
    if word in NO:
        return Command(goto="__end__", update=refused)
    return Command(goto="understand", update={**refused, "message": reply})


def book(state: State, runtime: Runtime[Shop]) -> State:
    """Book the refund, once for its key: replies sent twice at once both get here."""
    number = runtime.context.book(state["task"], state["customer"], state["amount"])
    answer = (
        f"Refunded ${state['amount']:,.2f} to customer {state['customer']}: "
        f"refund number {number}. A letter for them: "
    )
    return {"answer": answer, "task": ""}


def letter(state: State, runtime: Runtime[Shop]) -> State:
    """Stream a sentence of the language model; if it fails, the refund stays booked."""
    try:
        for piece in write_letter():
            runtime.stream_writer(piece)
    except mlflow.MlflowException as error:
        return {"answer": f"(none: {error.message})"}
    return {}


@mlflow.trace(span_type=SpanType.LLM, output_reducer="".join)
def write_letter() -> Iterator[str]:
    with service("OPENAI") as client:
        for chunk in client.chat.completions.create(
            model=os.environ["OPENAI_MODEL"],
            messages=[{"role": "user", "content": LETTER}],
            temperature=0,
            max_completion_tokens=60,
            stream=True,
            stream_options={"include_usage": True},
        ):
            count_tokens(chunk)  # the last one has them
            for choice in chunk.choices:
                yield choice.delta.content or ""


def build_graph(saver: Any = None) -> Any:
    """Connect the steps; `approve` names its own successors."""
    graph = StateGraph(State, context_schema=Shop)
    steps: list[Any] = [understand, ask, approve, book]
    last_steps: list[Any] = [forecast, letter, give_up, offer_help]
    for step in steps + last_steps:
        graph.add_node(step)
    for step in last_steps:
        graph.add_edge(step.__name__, END)
    choices = ["ask", "give_up", "forecast", "approve", "offer_help"]
    graph.add_edge(START, "understand")
    graph.add_conditional_edges("understand", next_step, choices)
    graph.add_conditional_edges("ask", next_step, choices)
    graph.add_edge("book", "letter")
    return graph.compile(checkpointer=saver)


class ShopDesk(mlflow.pyfunc.ResponsesAgent):
    """The graph as an agent: a conversation's id is its thread."""

    def load_context(self, context: Any) -> None:
        file = os.environ.get("DESK_DB", ":memory:")  # memory ends with the process
        customers = pd.read_csv(context.artifacts["customers"], index_col="customer_id")
        refunds = connect_db(file)
        columns = "number integer primary key, key unique, customer, amount"
        refunds.execute(f"create table if not exists refunds ({columns})")
        self.shop = Shop(customers, refunds)
        saver = SqliteSaver(connect_db(file))
        saver.setup()
        self.graph = build_graph(saver)

    def predict_stream(
        self, request: ResponsesAgentRequest
    ) -> Iterator[ResponsesAgentStreamEvent]:
        conversation = conversation_id(request)
        message = last_message(request)
        if mlflow.get_current_active_span():  # none while the model is logged
            session = {TraceMetadataKey.TRACE_SESSION: conversation}
            mlflow.update_current_trace(metadata=session)
        thread = {"configurable": {"thread_id": conversation}}
        text = ""
        for mode, data in self.graph.stream(
            self.graph_input(thread, message),
            thread,
            context=self.shop,
            stream_mode=["updates", "custom"],
            durability="sync",  # a yes is on disk before its refund is booked
        ):
            for piece in pieces(mode, data):
                text += piece
                yield ResponsesAgentStreamEvent(**self.create_text_delta(piece, "desk"))
        if not text:  # of two replies at once, the other one has ended the thread
            text = ANSWERED
            yield ResponsesAgentStreamEvent(**self.create_text_delta(text, "desk"))
        waits = bool(self.graph.get_state(thread).interrupts)
        done: dict[str, Any] = {
            "type": "response.output_item.done",
            "item": self.create_text_output_item(text, "desk"),
            "custom_outputs": {"waits_for_reply": waits},
        }
        yield ResponsesAgentStreamEvent(**done)

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        *_, last = self.predict_stream(request)
        done = last.model_dump()
        return ResponsesAgentResponse(
            output=[done["item"]], custom_outputs=done["custom_outputs"]
        )

    def graph_input(self, thread: dict[str, Any], message: str) -> Any:
        """Return what the graph gets for this message, by where its thread stands."""
        state = self.graph.get_state(thread)
        check_nothing_is_lost(state)
        if state.interrupts:  # a question waits: the message is the reply
            return Command(resume=message)
        if "book" in state.next:
            # Booking failed after a yes, which still holds. None: go on where it stood,
            # whatever the new message says.
            return None
        return {"message": message}


def pieces(mode: str, data: Any) -> Iterator[str]:
    """Yield what a step tells the person: a question, an answer, words of a letter."""
    if mode == "custom":
        yield data
        return
    for step, update in data.items():
        if step == "__interrupt__":  # here `update` is the interrupts of the step
            yield update[0].value
        elif update and "answer" in update:
            yield update["answer"]


def count_tokens(reply: Any) -> None:
    """Put the tokens that a service counted on its span; MLflow adds them up."""
    span = mlflow.get_current_active_span()
    usage = getattr(reply, "usage", None)  # some services don't count
    if span and usage:
        tokens = {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.total_tokens - usage.prompt_tokens,
            "total_tokens": usage.total_tokens,
        }
        span.set_attribute(SpanAttributeKey.CHAT_USAGE, tokens)


# The checks: what is refused, and what an error says.


def conversation_id(request: ResponsesAgentRequest) -> str:
    """Return the conversation's id, which every request must have."""
    name = request.context.conversation_id if request.context else None
    if not re.fullmatch(r"[\w.:-]{1,64}", name or "", re.ASCII):
        raise mlflow.MlflowException.invalid_parameter_value(
            'send "context": {"conversation_id": "..."}, 1 to 64 letters, digits or '
            "._:-, the same with each message: a refund waits for your next one"
        )
    return str(name)


def last_message(request: ResponsesAgentRequest) -> str:
    """Return the text of the last message, which must be a user's."""
    message = request.input[-1].model_dump() if request.input else {}
    if message.get("role") != "user":
        raise mlflow.MlflowException.invalid_parameter_value(
            "'input' must end in a message with the role 'user'"
        )
    text = message["content"]
    if not isinstance(text, str):
        text = "\n".join(part.get("text") or "" for part in text)
    if not text.strip() or len(text) > MAX_CHARS:
        raise mlflow.MlflowException.invalid_parameter_value(
            f"the last message is blank or too long ({len(text)} characters): "
            f"send 1 to {MAX_CHARS}"
        )
    return text.encode(errors="replace").decode()  # half a surrogate can't be kept


def check_nothing_is_lost(state: StateSnapshot) -> None:
    """Refuse a conversation that waits at a step which this version doesn't have.

    LangGraph then sees a task, and no next step.
    """
    if state.values.get("task") and not state.next:
        raise mlflow.MlflowException(
            "this conversation waits at a step of another version of the model: let "
            "that version finish it, or begin a new conversation",
            RESOURCE_CONFLICT,  # HTTP 409
        )


@contextmanager
def failure_as_503(what: str) -> Iterator[None]:
    """Turn any error in the block into a 503, with the key masked."""
    try:
        yield
    except Exception as error:  # a broken reply can raise anything
        reason = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
        key = os.environ.get("OPENAI_API_KEY", "")
        if len(key) > 7:  # a shorter one is a placeholder
            reason = reason.replace(key, "***")
        raise mlflow.MlflowException(
            f"{what} failed: {reason[:300]}", TEMPORARILY_UNAVAILABLE
        ) from None


@contextmanager
def service(name: str) -> Iterator[OpenAI]:
    """Yield a client of the service at `name`_BASE_URL; both services take one key."""
    with failure_as_503(f"the service of {name}_BASE_URL"):
        yield connect(
            os.environ.get(f"{name}_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        )


@lru_cache(maxsize=8)
def connect(address: str | None, key: str | None) -> OpenAI:
    """Return the client for this address and key: making one costs more than a call."""
    return OpenAI(base_url=address, api_key=key, timeout=60, max_retries=1)


mlflow.models.set_model(ShopDesk())
