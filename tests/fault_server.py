"""A stand-in for the service, on loopback, that goes wrong on request; for tests and benchmarks.

A text that begins with `[fault]`, one of FAULTS, is answered with that fault; any other gets a
good answer after `latency` seconds. It speaks Chat Completions and Responses, plain and streamed,
and no language model is behind it. To look at it by hand, until Enter is pressed:

    python fault_server.py [LATENCY_SECONDS]
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = {"product": None, "price": None, "sentiment": "positive"}
TOKENS = (11, 7)  # what every reply says it used
STATUS = {  # fault: (status, headers, how many times before it is well)
    "429 Retry-After 1 s": (429, {"Retry-After": "1"}, 1),
    "429 for ever": (429, {}, 99),
    "429 Retry-After 300 s": (429, {"Retry-After": "300"}, 99),
    "408 once": (408, {}, 1),
    "409 once": (409, {}, 1),
    "500 once": (500, {}, 1),
    "500 for ever": (500, {}, 99),
    "503 x-should-retry false": (503, {"x-should-retry": "false"}, 99),
    "400": (400, {}, 99),
    "401 echoes the key": (401, {}, 99),
}
BODY = {"HTML", "no choices", "broken JSON", "not of the schema", "too long", "refusal", "no usage"}
WIRE = {"hangs up", "silent", "drips"}
FAULTS = [*STATUS, *sorted(BODY | WIRE)]


class StandIn(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency = latency
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.calls: Counter[str] = Counter()  # by fault, "" for good texts
        self.requests: list[tuple[str, dict[str, Any]]] = []  # path and body
        self.active = self.peak = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on purpose here; that is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StandIn

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = (body.get("messages") or body.get("input"))[-1]["content"]
        fault = text[1:].split("]")[0] if text.startswith("[") else ""
        with self.server.lock:
            self.server.requests.append((self.path, body))
            self.server.calls[fault] += 1
            count = self.server.calls[fault]
            self.server.active += 1
            self.server.peak = max(self.server.peak, self.server.active)
        try:
            self.answer(fault, count, body)
        finally:
            with self.server.lock:
                self.server.active -= 1

    def answer(self, fault: str, count: int, body: dict[str, Any]) -> None:
        chat = self.path.endswith("/chat/completions")
        if fault in STATUS and count <= STATUS[fault][2]:
            status, headers, _ = STATUS[fault]
            said = f"stand-in fault {fault}, sent with {self.headers['Authorization']}"
            return self.send(status, json.dumps({"error": {"message": said}}), headers)
        if fault == "silent":
            self.server.closing.wait(30)
            return None
        if fault == "HTML":
            return self.send(200, "<html>maintenance</html>", {"Content-Type": "text/html"})
        reply = completion(fault, chat)
        if body.get("stream"):
            return self.stream(fault, chat, reply)
        data = json.dumps(reply)
        if fault == "broken JSON":
            data = data[: len(data) // 2]
        if fault in ("hangs up", "drips"):
            self.send_head(200, {"Content-Length": str(len(data))})
            for byte in data[: 10 if fault == "hangs up" else None]:
                self.wfile.write(byte.encode())
                if fault == "drips" and self.server.closing.wait(0.1):
                    break
            self.close_connection = True
            return None
        time.sleep(self.server.latency)
        return self.send(200, data)

    def send(self, status: int, data: str, headers: dict[str, str] | None = None) -> None:
        self.send_head(status, {"Content-Length": str(len(data.encode()))} | (headers or {}))
        self.wfile.write(data.encode())

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def stream(self, fault: str, chat: bool, reply: dict[str, Any]) -> None:
        self.send_head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
        self.close_connection = True
        text = json.dumps(ANSWER)
        for number, piece in enumerate([text[i : i + 8] for i in range(0, len(text), 8)]):
            if fault == "hangs up" and number == 2:
                return
            if fault == "drips":
                self.server.closing.wait(0.4)
            delta = {"choices": [{"index": 0, "delta": {"content": piece}}]}
            event = {"type": "response.output_text.delta", "delta": piece}
            self.event({"object": "chat.completion.chunk", **delta} if chat else event)
        if chat:
            stop = {"index": 0, "delta": {}, "finish_reason": reply["choices"][0]["finish_reason"]}
            self.event({"object": "chat.completion.chunk", "choices": [stop]})
            use = {"choices": [], "usage": reply["usage"]}
            self.event({"object": "chat.completion.chunk", **use})
        else:
            self.event({"type": f"response.{reply['status']}", "response": reply})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(
            f"data: {json.dumps({'id': 'x', 'model': 'm', 'created': 0} | data)}\n\n".encode()
        )
        self.wfile.flush()


def completion(fault: str, chat: bool) -> dict[str, Any]:
    """Return the JSON of a reply in either API, good but for the fault."""
    text = '{"sentiment": "so-so"}' if fault == "not of the schema" else json.dumps(ANSWER)
    if fault == "too long":
        text = text[:12]
    refused, long = fault == "refusal", fault == "too long"
    common = {"id": "x", "model": "stand-in", "created": 0, "created_at": 0}
    if chat:
        message = {"role": "assistant", "content": None if refused else text}
        message |= {"refusal": "I can't help with that." if refused else None}
        choice = {"index": 0, "message": message, "finish_reason": "length" if long else "stop"}
        use = dict(zip(("prompt_tokens", "completion_tokens"), TOKENS, strict=True))
        reply = common | {"object": "chat.completion", "choices": [choice]}
    else:
        said = {"type": "output_text", "text": text, "annotations": []}
        if refused:
            said = {"type": "refusal", "refusal": "I can't help with that."}
        item = {"type": "message", "id": "x", "role": "assistant", "status": "completed"}
        reply = common | {"object": "response", "output": [item | {"content": [said]}]}
        reply |= {"status": "incomplete" if long else "completed"}
        reply |= {"incomplete_details": {"reason": "max_output_tokens"} if long else None}
        use = dict(zip(("input_tokens", "output_tokens"), TOKENS, strict=True))
    if fault == "no choices":
        reply.pop("choices", reply.pop("output", None))
    return reply if fault == "no usage" else reply | {"usage": use | {"total_tokens": sum(TOKENS)}}


@contextmanager
def stand_in(latency: float = 0.0) -> Iterator[StandIn]:
    """Run the stand-in while the block runs; its address is `.url`."""
    with StandIn(latency) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with stand_in(*map(float, sys.argv[1:])) as running:
        print(running.url, flush=True)
        sys.stdin.readline()
