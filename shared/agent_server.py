"""MLflow's AgentServer in front of a logged ResponsesAgent: the OpenAI client works
against it.

python -m shared.agent_server MODEL --host 127.0.0.1 --port PORT
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import mlflow
import uvicorn
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.genai.agent_server.validator import ResponsesAgentValidator
from mlflow.types.responses import ResponsesAgentRequest


class PlainTextToo(ResponsesAgentValidator):
    """Takes `input` as text, as the API does; MLflow wants a list of messages."""

    def validate_and_convert_request(self, data: dict[str, Any]) -> Any:
        if isinstance(data.get("input"), str):
            data = data | {"input": [{"role": "user", "content": data["input"]}]}
        return super().validate_and_convert_request(data)


def serve(uri: str, host: str, port: int) -> None:
    model = mlflow.pyfunc.load_model(uri)
    if "agent" not in str((model.metadata.metadata or {}).get("task")):
        sys.exit("this model is no ResponsesAgent: make serve serves it")

    def mark() -> dict[str, Any]:
        return {
            "id": f"resp_{uuid.uuid4().hex}",
            "created_at": int(time.time()),
            "model": "agent",
        }

    # A handler that is not async would hold up all others, /health too, while it runs.
    @invoke()
    async def answer(request: ResponsesAgentRequest) -> dict[str, Any]:
        asked = request.model_dump(exclude_none=True)
        return mark() | await asyncio.to_thread(model.predict, asked)

    @stream()
    async def events(request: ResponsesAgentRequest) -> AsyncIterator[dict[str, Any]]:
        asked, same = request.model_dump(exclude_none=True), mark()
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

        def produce() -> (
            None
        ):  # from one thread: MLflow's context must end where it began
            for event in model.predict_stream(asked):
                loop.call_soon_threadsafe(queue.put_nowait, event)

        producer = asyncio.create_task(asyncio.to_thread(produce))
        producer.add_done_callback(lambda _: queue.put_nowait(None))
        while event := await queue.get():
            if "response" in event:
                event["response"] = same | event["response"]
            yield event
        await producer  # raises what the model raised

    server = AgentServer("ResponsesAgent")
    server.validator = PlainTextToo()

    @server.app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        """The model's refusal of an input is the caller's mistake, no 500."""
        cause, status = error.__context__, error.status_code
        if isinstance(cause, mlflow.MlflowException):
            status = cause.get_http_status_code()
        return JSONResponse({"error": {"message": error.detail}}, status)

    uvicorn.run(server.app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("uri")
    words.add_argument("--host", required=True)
    words.add_argument("--port", type=int, required=True)
    serve(**vars(words.parse_args()))
