"""A fake service on loopback that goes wrong on request: the failure cases of tests, benchmarks.

A text that begins with `[fault]`, one of FAULTS, is answered with that fault; any other gets a
good answer after `latency` seconds. It speaks Chat Completions and Responses, plain and streamed,
refuses a request without a token limit, and no language model is behind it. To look at it by hand,
until Enter is pressed:

    python tests/fault_server.py [LATENCY_SECONDS]
"""

import gzip
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
GOOD = json.dumps(ANSWER)
TOKENS = (11, 7)  # what a reply says it used
STATUS: dict[str, tuple[int, dict[str, str], int]] = {  # status, headers, times before it is well
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
    "307 elsewhere": (307, {"Location": "/elsewhere"}, 99),
}
CONTENT: dict[str, str | None] = {  # the answer's text; KEY stands for the caller's key
    "fenced": f"```json\n{GOOD}\n```",
    "thinks": f"<think>perhaps {{}}</think>\n{GOOD}",
    "not of the schema": '{"sentiment": "so-so"}',
    "price as text": '{"product": null, "price": "54", "sentiment": "positive"}',
    "price NaN": '{"product": null, "price": NaN, "sentiment": "positive"}',
    "price infinite": '{"product": null, "price": 1e999, "sentiment": "positive"}',
    "deep answer": "[" * 200_000,
    "answer echoes the key": '{"product": "KEY", "sentiment": "KEY"}',
    "too long": GOOD[:12],
    "refusal": None,
}
USAGE: dict[str, Any] = {
    "no usage": None,
    "usage empty": {},
    "usage a text": "many",
    "usage huge": 1e30,
    "usage negative": -1,
    "usage true": True,
}
BODY = {
    "HTML": "<html>maintenance</html>",
    "null": "null",
    "empty": "",
    "deep JSON": "[" * 200_000,
    "broken JSON": '{"object": "chat.completion", "choices": [{',
    "no choices": '{"object": "chat.completion", "usage": {}}',
    "choices a dict": '{"object": "chat.completion", "choices": {"a": 1}}',
    "body echoes the key": '{"object": "KEY", "choices": "KEY"}',
}
WIRE = ["hangs up", "silent", "drips", "gzip bomb"]
FAULTS = [*STATUS, *CONTENT, *USAGE, *BODY, *WIRE]


class FaultServer(ThreadingHTTPServer):
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
    server: FaultServer

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
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not {"max_completion_tokens", "max_output_tokens"} & body.keys():
            return self.send(400, '{"error": {"message": "no token limit"}}')
        if fault in STATUS and count <= STATUS[fault][2]:
            status, headers, _ = STATUS[fault]
            said = f"fault {fault}, sent with Bearer {key}"
            return self.send(status, json.dumps({"error": {"message": said}}), headers)
        if fault in BODY:
            return self.send(200, BODY[fault].replace("KEY", key))
        if fault == "silent":
            self.server.closing.wait(60)
            return None
        if fault == "gzip bomb":  # 100 kB that become 100 MB
            packed = gzip.compress(b" " * 100_000_000, 1)
            return self.send(200, packed, {"Content-Encoding": "gzip"})
        text = (CONTENT.get(fault, GOOD) or "").replace("KEY", key)
        reply = completion(fault, text, self.path.endswith("/chat/completions"))
        if body.get("stream"):
            return self.stream(fault, text, reply)
        data = json.dumps(reply)
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

    def send(self, status: int, data: str | bytes, headers: dict[str, str] | None = None) -> None:
        data = data.encode() if isinstance(data, str) else data
        self.send_head(status, {"Content-Length": str(len(data))} | (headers or {}))
        self.wfile.write(data)

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def stream(self, fault: str, text: str, reply: dict[str, Any]) -> None:
        self.send_head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
        self.close_connection = True
        chat = reply["object"] == "chat.completion"
        for number, piece in enumerate([text[i : i + 8] for i in range(0, len(text), 8)]):
            if fault == "hangs up" and number == 2:
                return
            if fault == "drips":
                self.server.closing.wait(0.2)
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


def completion(fault: str, text: str, chat: bool) -> dict[str, Any]:
    """Return the JSON of a reply in either API, good but for the fault."""
    refused, long = fault == "refusal", fault == "too long"
    common = {"id": "x", "model": "fake", "created": 0, "created_at": 0}
    names = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    usage: Any = dict(zip(names, TOKENS, strict=True)) | {"total_tokens": sum(TOKENS)}
    if fault in USAGE:
        odd = USAGE[fault]
        usage = dict.fromkeys(names, odd) if isinstance(odd, int | float) else odd
    if chat:
        message = {"role": "assistant", "content": None if refused else text}
        message |= {"refusal": "I can't help with that." if refused else None}
        choice = {"index": 0, "message": message, "finish_reason": "length" if long else "stop"}
        return common | {"object": "chat.completion", "choices": [choice], "usage": usage}
    said = {"type": "output_text", "text": text, "annotations": []}
    if refused:
        said = {"type": "refusal", "refusal": "I can't help with that."}
    item = {"type": "message", "id": "x", "role": "assistant", "status": "completed"}
    reply = common | {"object": "response", "output": [item | {"content": [said]}], "usage": usage}
    reply |= {"status": "incomplete" if long else "completed"}
    return reply | {"incomplete_details": {"reason": "max_output_tokens"} if long else None}


@contextmanager
def running(latency: float = 0.0) -> Iterator[FaultServer]:
    """Run the service while the block runs; its address is `.url`."""
    with FaultServer(latency) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with running(*map(float, sys.argv[1:])) as service:
        print(service.url, flush=True)
        sys.stdin.readline()
