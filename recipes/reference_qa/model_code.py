"""Answer "which function does that?" out of Python's standard library, or refuse.

Ask in your own words. The answer is the entry that fits best with its first sentence,
a link to its documentation and the next best names. The driver logs this file by its
path; MLflow stores its text and runs it at each load. The last line names the model.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Document, SpanType
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracing.constant import SpanAttributeKey, TraceMetadataKey
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)
from openai import OpenAI

CONFIG: dict[str, Any] = {
    # "extract" answers with the entry as it stands; with "generate", a language model
    # writes the answer.
    "answer": "extract",
    "entries": 5,  # how many are retrieved
    "least_score": 0.5,  # a question whose best entry scores less is refused
    # What a request to the language model has besides the prompt. Drop a field that
    # your service refuses.
    "fields": {
        "temperature": 0,
        "max_completion_tokens": 100,
        "stream_options": {"include_usage": True},
    },
}
TASK = "Answer the question in one sentence, using only these entries."
REFUSAL = "No entry of Python's standard library answers that."
MAX_CHARS = 1000  # of a question


def names_any(question: str, names: Iterable[str]) -> bool:
    """Return whether a question names another library or language, such as "rust"."""
    words = re.findall(r"[\w+#]+", question.lower())
    text = f" {' '.join(words)} "
    return any(f" {name} " in text for name in names)


def as_document(row: dict[Any, Any]) -> Document:
    """Return a row of the entries as MLflow shows it in a trace."""
    metadata = {
        "score": round(row["score"], 3),
        "link": row["link"],
        "in_scope": row["in_scope"],
    }
    return Document(page_content=row["text"], metadata=metadata, id=row["name"])


def entry_as_answer(entries: list[Document]) -> str:
    """Return the best entry with its sentence, and the names of the others."""
    answer = f"{entries[0].id}: {entries[0].page_content}"
    others = [str(entry.id) for entry in entries[1:]]
    if others:
        answer += f"\nSee also: {', '.join(others)}"
    return answer


def citation(entry: Document) -> dict[str, Any]:
    """Return the reference to an entry as the Responses API has it."""
    return {"type": "url_citation", "title": entry.id, "url": entry.metadata["link"]}


def name_session(request: ResponsesAgentRequest) -> None:
    """Put the conversation's id on the trace; MLflow shows its traces together."""
    if request.context and request.context.conversation_id:
        session = {TraceMetadataKey.TRACE_SESSION: request.context.conversation_id}
        mlflow.update_current_trace(metadata=session)


def count_tokens(reply: Any) -> None:
    """Put the tokens that a service counted on its span; MLflow adds them up."""
    span = mlflow.get_current_active_span()
    usage = getattr(reply, "usage", None)  # some services don't count
    if span and usage:
        # An embedding has only a prompt, so its usage has no completion_tokens.
        output_tokens = usage.total_tokens - usage.prompt_tokens
        tokens = {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": output_tokens,
            "total_tokens": usage.total_tokens,
        }
        span.set_attribute(SpanAttributeKey.CHAT_USAGE, tokens)


class ReferenceAgent(mlflow.pyfunc.ResponsesAgent):
    """Embed the question, retrieve entries, refuse or answer, cite."""

    def load_context(self, context: Any) -> None:
        self.config = CONFIG | (context.model_config or {})
        # An entry has one row or several, each with the vector of a text about it.
        # name, text, link: what is answered
        # vector: int8 numbers, to be divided by `scale`
        # prior: added to the score, higher for names that code uses often
        # in_scope: false for entries of other libraries, so that those are recognised
        self.entries = pd.read_parquet(context.artifacts["entries"])
        # Of the table as a whole: `scale`, `embedding_model`, and `other_names`, of
        # other libraries and languages.
        self.about = self.entries.attrs
        self.entries.attrs = {}  # pandas would copy them at each step
        vectors = [np.frombuffer(row, np.int8) for row in self.entries.pop("vector")]
        self.vectors = np.stack(vectors) / np.float32(self.about["scale"])

    def predict_stream(
        self, request: ResponsesAgentRequest
    ) -> Iterator[ResponsesAgentStreamEvent]:
        question = last_question(request)
        name_session(request)
        vector = self.embed(question)
        retrieved = self.retrieve(vector)
        best = retrieved[0]
        entries = [entry for entry in retrieved if entry.metadata["in_scope"]]
        pieces: Iterable[str] = [REFUSAL]
        cited: list[Document] = []
        if self.can_answer(question, best):  # then `best` is the first of `entries`
            if self.config["answer"] == "generate":
                pieces = self.generate(question, entries)
                cited = entries
            else:
                pieces = [entry_as_answer(entries)]
                cited = entries[:1]

        text = ""
        for piece in pieces:
            text += piece
            yield ResponsesAgentStreamEvent(**self.create_text_delta(piece, "answer"))
        notes = [citation(entry) for entry in cited]
        done: dict[str, Any] = {
            "type": "response.output_item.done",
            "item": self.create_text_output_item(text, "answer", notes),
            "custom_outputs": {"entries": [entry.to_dict() for entry in retrieved]},
        }
        yield ResponsesAgentStreamEvent(**done)

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        *_, last = self.predict_stream(request)
        done = last.model_dump()
        return ResponsesAgentResponse(
            output=[done["item"]], custom_outputs=done["custom_outputs"]
        )

    @mlflow.trace(span_type=SpanType.EMBEDDING)
    def embed(self, question: str) -> np.ndarray:
        """Return the question's vector, from the model that embedded the entries."""
        with service("OPENAI_EMBEDDING") as client:
            reply = client.embeddings.create(
                model=embedding_model(self.about["embedding_model"]),
                input=question,
                encoding_format="float",
            )
            count_tokens(reply)
            return checked_vector(reply, length=self.vectors.shape[1])

    @mlflow.trace(span_type=SpanType.RETRIEVER)
    def retrieve(self, vector: np.ndarray) -> list[Document]:
        """Return the entries that fit best, the best one first."""
        # As `self.vectors @ vector`, whose threads would keep the other cores busy.
        similarities = np.einsum("ij,j->i", self.vectors, vector)
        scores = similarities + self.entries["prior"]
        rows = self.entries.assign(score=scores).sort_values("score", ascending=False)
        best = rows.drop_duplicates("name").head(self.config["entries"])
        return [as_document(row) for row in best.to_dict("records")]

    def can_answer(self, question: str, best: Document) -> bool:
        """Return whether the best entry may answer; if not, the model refuses."""
        if names_any(question, self.about["other_names"]):
            return False  # "Read a file in Rust" is close to an entry
        near_enough = best.metadata["score"] >= self.config["least_score"]
        return near_enough and best.metadata["in_scope"]

    @mlflow.trace(span_type=SpanType.LLM, output_reducer="".join)
    def generate(self, question: str, entries: list[Document]) -> Iterator[str]:
        """Yield an answer that the language model writes, as it comes."""
        listed = [f"{entry.id}: {entry.page_content}" for entry in entries]
        prompt = "\n".join([TASK, "", *listed, "", f"Question: {question}"])
        with service("OPENAI") as client:
            for chunk in client.chat.completions.create(
                model=os.environ["OPENAI_MODEL"],
                messages=[{"role": "user", "content": prompt}],
                stream=True,
                **self.config["fields"],
            ):
                count_tokens(chunk)  # the last one has them
                for choice in chunk.choices:
                    yield choice.delta.content or ""


# The checks: what is refused, and what an error says.


def last_question(request: ResponsesAgentRequest) -> str:
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
    return text.encode(errors="replace").decode()  # half a surrogate can't be sent


@contextmanager
def service(name: str) -> Iterator[OpenAI]:
    """Yield a client of the service at `name`_BASE_URL; both services take one key.

    Any error in the block becomes HTTP 503 with the key masked, also those of the
    checks below.
    """
    key = os.environ.get("OPENAI_API_KEY")
    try:
        yield connect(os.environ.get(f"{name}_BASE_URL"), key)
    except Exception as error:  # a broken reply can raise anything
        reason = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
        if key and len(key) > 7:  # a shorter one is a placeholder
            reason = reason.replace(key, "***")
        raise mlflow.MlflowException(
            f"the service of {name}_BASE_URL failed: {reason[:300]}",
            TEMPORARILY_UNAVAILABLE,  # HTTP 503
        ) from None


@lru_cache(maxsize=8)
def connect(address: str | None, key: str | None) -> OpenAI:
    """Return the client for this address and key: making one costs more than a call."""
    return OpenAI(base_url=address, api_key=key, timeout=60, max_retries=1)


def embedding_model(model: str) -> str:
    """Return the model that embedded the entries; refuse another one."""
    named = os.environ.get("OPENAI_EMBEDDING_MODEL", model)
    if named != model:
        raise ValueError(f"the entries are embedded by {model}, not {named}")
    return model


def checked_vector(reply: Any, length: int) -> np.ndarray:
    """Return the reply's vector, scaled to length 1."""
    vector = np.array(reply.data[0].embedding, dtype=np.float64)
    if vector.shape != (length,):
        raise ValueError(
            f"a vector of {vector.size} numbers; the entries' have {length}"
        )
    size = math.hypot(*vector)  # doesn't overflow, as a sum of squares would
    if size == 0 or not math.isfinite(size):
        raise ValueError("a vector whose length is zero, or not finite")
    return (vector / size).astype(np.float32)  # as the entries' vectors are


mlflow.models.set_model(ReferenceAgent())
