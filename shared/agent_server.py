"""MLflow's AgentServer in front of a logged ResponsesAgent, for the OpenAI client.

python -m shared.agent_server MODEL --host 127.0.0.1 --port PORT

An agent yields pieces of text and finished items. What the Responses API has around
them is added here: ids, times, numbers, and the events that open and close a response.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

from shared.spark import is_agent

import mlflow
import uvicorn
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.genai.agent_server.validator import ResponsesAgentValidator
from mlflow.types.responses import ResponsesAgentRequest

Event = dict[str, Any]
ENDS = {"error", "response.completed", "response.failed", "response.incomplete"}
IGNORED = ("instructions", "previous_response_id")  # no agent here reads them


class Validator(ResponsesAgentValidator):
    """Takes `input` as text, as the API does; refuses what would be ignored."""

    def validate_and_convert_request(self, data: dict[str, Any]) -> Any:
        ignored = [name for name in IGNORED if data.get(name)]
        if ignored:
            raise ValueError(f"this agent doesn't read {', '.join(ignored)}")
        if isinstance(data.get("input"), str):
            data = data | {"input": [{"role": "user", "content": data["input"]}]}
        return super().validate_and_convert_request(data)


def opening(position: Event) -> Iterator[Event]:
    """Yield the events that announce a message and its text."""
    message = {"type": "message", "role": "assistant", "content": []}
    yield {
        "type": "response.output_item.added",
        "output_index": position["output_index"],
        "item": message | {"id": position["item_id"], "status": "in_progress"},
    }
    part = {"type": "output_text", "text": "", "annotations": []}
    yield position | {"type": "response.content_part.added", "part": part}


def closing(item: Event, position: Event) -> Iterator[Event]:
    """Yield the events that repeat a message's text and notes when it is finished."""
    part = item["content"][0]
    for number, note in enumerate(part["annotations"]):
        yield position | {
            "type": "response.output_text.annotation.added",
            "annotation": note,
            "annotation_index": number,
        }
    yield position | {"type": "response.output_text.done", "text": part["text"]}
    yield position | {"type": "response.content_part.done", "part": part}


def whole_protocol(events: Iterator[Event], response: Event) -> Iterator[Event]:
    """Yield the agent's events with those that the API has around them.

    The agent may end its stream itself, such as by response.failed.
    """
    output: list[Event] = []
    opened = ""
    yield {"type": "response.created", "response": response | {"status": "in_progress"}}
    end: Event = {"type": "response.completed"}
    for event in events:
        if event["type"] in ENDS:
            end = event
            continue
        index = len(output)
        message_id = f"{response['id'].replace('resp', 'msg')}_{index}"
        position = {"item_id": message_id, "output_index": index, "content_index": 0}
        is_message = event.get("item", {"type": "message"})["type"] == "message"
        if is_message and opened != message_id:
            yield from opening(position)
            opened = message_id
        if event["type"] == "response.output_text.delta":
            yield event | position
        elif event["type"] == "response.output_item.done":
            done = event["item"] | {"status": "completed"}
            if is_message:
                done["id"] = message_id
                yield from closing(done, position)
            output.append(done)
            response = response | {"custom_outputs": event.get("custom_outputs")}
            yield event | {"output_index": index, "item": done}
        else:
            yield event
    if end["type"] != "error":
        own = {"status": "completed", "output": output} | end.get("response", {})
        own["output"] = output or own["output"]  # under the ids of the stream
        end = end | {"response": response | own | {"id": response["id"]}}
    yield end


def failure(error: Exception) -> Event:
    """Return a stream's last event; the OpenAI client raises what `error` says."""
    message = getattr(error, "message", None) or str(error)
    # MLflow's, such as TEMPORARILY_UNAVAILABLE.
    code = getattr(error, "error_code", None)
    detail = {"message": message, "code": code}
    return {"type": "error", **detail, "error": detail}


def new_response() -> Event:
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": "agent",
        "output": [],
    }


def serve(uri: str, host: str, port: int) -> None:
    """Serve the agent until Ctrl-C."""
    model = mlflow.pyfunc.load_model(uri)
    if not is_agent(model.metadata):
        sys.exit("this model is no ResponsesAgent: make serve serves it")

    # A handler that is not async would hold up all others, /health too, while it runs.
    @invoke()
    async def answer(request: ResponsesAgentRequest) -> Event:
        body = request.model_dump(exclude_none=True)
        reply = await asyncio.to_thread(model.predict, body)
        return new_response() | {"status": "completed"} | reply

    @stream()
    async def events(request: ResponsesAgentRequest) -> AsyncIterator[Event]:
        body = request.model_dump(exclude_none=True)
        # Nothing of the agent runs before the first step.
        steps = enumerate(whole_protocol(model.predict_stream(body), new_response()))
        advance = partial(next, steps, None)
        context = copy_context()  # one for all steps: MLflow's must end where it began
        try:
            while step := await asyncio.to_thread(context.run, advance):
                number, event = step
                yield event | {"sequence_number": number}
        except Exception as error:
            yield failure(error)

    server = AgentServer("ResponsesAgent")
    server.validator = Validator()
    server.app.mount("/v1", server.app)  # the OpenAI client's addresses end in /v1

    @server.app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        """Answer with the model's own status: a refused input is a 400."""
        cause, status = error.__context__, error.status_code
        if isinstance(cause, mlflow.MlflowException):
            status = cause.get_http_status_code()
        return JSONResponse({"error": {"message": error.detail}}, status)

    uvicorn.run(server.app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    serve(**vars(parser.parse_args()))
