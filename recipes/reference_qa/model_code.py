"""Answer questions about Python out of its own reference, with the passages: a chain of services.

embed (a service) -> retrieve -> refuse, or answer (word for word, or by a service) -> cite.
The environment, when predict runs: OPENAI_API_KEY, OPENAI_[EMBEDDING_]MODEL and ..._BASE_URL.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Document, SpanStatusCode, SpanType
from mlflow.types import responses as api
from mlflow.types.responses import ResponsesAgentStreamEvent as Event
from openai import OpenAI, OpenAIError

event: Any = Event  # takes more fields than its type names
# The sentence that fits best, or "generate": ask the language model. Below least_score: refuse.
CONFIG = {"answer": "extract", "passages": 5, "least_score": 0.5}
WRITE: Any = {"temperature": 0, "max_completion_tokens": 100, "stream": True}
MAX_CHARS = 1000  # of a question
TASK = "Answer the question in one sentence, using only the passages."
REFUSAL = "Python's reference doesn't answer that."
bad_request = mlflow.MlflowException.invalid_parameter_value  # HTTP 400
connect = cache(
    partial(OpenAI, timeout=60, max_retries=1)
)  # a client costs more than a call


@contextmanager
def service(name: str) -> Iterator[tuple[OpenAI, str]]:
    """Yield a client, and its key: a service may echo it (or half a surrogate) into traces."""
    client = connect(base_url=os.environ.get(f"{name}_BASE_URL"))
    key = client.api_key if len(client.api_key) > 7 else "\0"  # or it is a placeholder
    try:
        yield client, key
    except (OpenAIError, ValueError) as error:
        error.args = (str(error).replace(key, "***").encode(errors="replace").decode(),)
        raise error from None  # its cause may quote the key too


def last_question(request: api.ResponsesAgentRequest) -> str:
    """Return the text of the last message; it is refused if blank, too long or not a user's."""
    last = request.input[-1].model_dump() if request.input else {}
    if last.get("role") != "user":
        raise bad_request("'input' must end in a message with the role 'user'")
    parts = last["content"]
    text = (
        parts
        if isinstance(parts, str)
        else "\n".join(part.get("text") or "" for part in parts)
    )
    if not text.strip() or len(text) > MAX_CHARS:
        raise bad_request(
            f"the last message has {len(text)} characters: need 1 to {MAX_CHARS}"
        )
    return text


class ReferenceAgent(mlflow.pyfunc.ResponsesAgent):
    def load_context(self, context: Any) -> None:
        self.config: dict[str, Any] = CONFIG | (context.model_config or {})
        rows = pd.read_parquet(context.artifacts["passages"])
        vectors = np.frombuffer(b"".join(rows["vector"]), np.int8).reshape(
            len(rows), -1
        )
        self.vectors = vectors / np.float32(rows.attrs["scale"])
        self.embedding_model = rows.attrs["embedding_model"]
        whole = rows[
            "sentence"
        ].isna()  # a row is a passage as a whole, or one of its sentences
        self.passages, self.sentences, self.text = (
            rows[whole],
            rows[~whole],
            rows["sentence"],
        )

    @mlflow.trace(span_type=SpanType.EMBEDDING)
    def embed(self, question: str) -> list[float]:
        model = os.environ.get("OPENAI_EMBEDDING_MODEL") or self.embedding_model
        if model != self.embedding_model:
            raise OpenAIError(
                f"the passages were embedded by {self.embedding_model}, not {model}"
            )
        with service("OPENAI_EMBEDDING") as (client, _):
            reply = client.embeddings.create(
                model=model, input=question, encoding_format="float"
            )
            return list(map(float, reply.data[0].embedding))

    @mlflow.trace(span_type=SpanType.RETRIEVER)
    def retrieve(self, vector: list[float]) -> list[Document]:
        """Return the nearest passages, best first; each with its own best sentence."""
        score = pd.Series(self.vectors @ np.array(vector, np.float32))
        best = (
            score[self.sentences.index]
            .groupby(self.sentences["id"], sort=False)
            .idxmax()
        )
        total = score[self.passages.index].to_numpy() + score[best].to_numpy() / 2
        found = []
        for i in total.argsort()[::-1][: self.config["passages"]]:
            passage, sentence = (
                self.passages.iloc[i],
                self.text.iloc[best.iloc[i]],
            )  # thread-safe
            about = {"score": round(float(total[i]), 3), "sentence": sentence}
            found.append(Document(passage["text"], about, passage["id"]))
        return found

    @mlflow.trace(span_type=SpanType.LLM, output_reducer="".join)
    def generate(self, question: str, found: list[Document]) -> Iterator[str]:
        prompt = "\n\n".join(
            [TASK, *(d.page_content for d in found), f"Question: {question}"]
        )
        ask = WRITE | {"messages": [{"role": "user", "content": prompt}]}
        with service("OPENAI") as (client, key):
            held = ""
            for chunk in client.chat.completions.create(
                model=os.environ["OPENAI_MODEL"], **ask
            ):
                if chunk.choices and (piece := chunk.choices[0].delta.content):
                    held = (
                        (held + piece)
                        .replace(key, "***")
                        .encode(errors="replace")
                        .decode()
                    )
                    ready = held.rstrip(key)  # what follows may be a part of the key
                    yield ready
                    held = held.removeprefix(ready)
            yield held

    def events(self, request: api.ResponsesAgentRequest) -> Iterator[Event]:
        """Yield the events of the Responses API in its order; the last one holds the response."""
        question = last_question(request)
        said, name, write = (
            "",
            f"msg_{len(request.input)}",
            self.config["answer"] == "generate",
        )
        found, cited, failed = list[Document](), list[Document](), dict[str, Any]()
        at = {"item_id": name, "output_index": 0, "content_index": 0}
        empty = self.create_text_output_item("", name)
        yield event(
            type="response.created", response={"status": "in_progress", "output": []}
        )
        yield event(
            type="response.output_item.added",
            output_index=0,
            item=empty | {"content": []},
        )
        yield event(type="response.content_part.added", part=empty["content"][0], **at)
        try:
            dry = (request.custom_inputs or {}).get("dry_run")  # log_model asks
            found = [] if dry else self.retrieve(self.embed(question))
            pieces: Iterable[str] = [REFUSAL]
            if (
                found
                and (best := found[0].metadata)["score"] >= self.config["least_score"]
            ):
                cited = found if write else found[:1]
                pieces = self.generate(question, found) if write else [best["sentence"]]
            for piece in filter(None, pieces):
                said += piece
                yield event(type="response.output_text.delta", delta=piece, **at)
        except (
            Exception
        ) as error:  # whatever a service does, the caller gets a response
            failed = {
                "error": {"code": type(error).__name__, "message": str(error)[:300]}
            }
            if span := mlflow.get_current_active_span():
                span.set_status(SpanStatusCode.ERROR)  # a caught error leaves it OK
        notes = []
        for i, d in enumerate(cited):
            notes.append(
                {"type": "file_citation", "file_id": d.id, "filename": d.id, "index": i}
            )
            added = {"annotation": notes[i], "annotation_index": i}
            yield event(type="response.output_text.annotation.added", **added, **at)
        item = self.create_text_output_item(said, name, notes)
        item["status"] = "incomplete" if failed else "completed"
        yield event(type="response.output_text.done", text=said, **at)
        yield event(type="response.content_part.done", part=item["content"][0], **at)
        yield event(type="response.output_item.done", output_index=0, item=item)
        passages = {
            d.id: {"score": d.metadata["score"], "text": d.page_content} for d in found
        }
        status = "failed" if failed else "completed"
        response = {
            "status": status,
            "output": [item],
            "custom_outputs": {"passages": passages},
        }
        yield event(type=f"response.{status}", response=response | failed)

    def predict(self, request: api.ResponsesAgentRequest) -> api.ResponsesAgentResponse:
        *_, last = self.events(request)
        return api.ResponsesAgentResponse(**last.model_dump()["response"])

    def predict_stream(self, request: api.ResponsesAgentRequest) -> Iterator[Event]:
        for number, event in enumerate(self.events(request)):
            yield event.model_copy(update={"sequence_number": number})


mlflow.models.set_model(ReferenceAgent())
