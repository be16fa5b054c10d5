"""A fake service on loopback that fails as it is told, for the failure cases.

A text that begins with `[fault]`, one of FAULTS, is answered with that fault; any other
gets a good answer after `latency` seconds. It speaks Chat Completions and Responses,
plain and streamed, refuses a request without a token limit, echoes the caller's key in
a header, and no language model is behind it. To look at it by hand, until Enter is
pressed:

    python tests/fault_server.py [LATENCY_SECONDS]
"""

import gzip
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = '{"product": null, "price": null, "sentiment": "positive"}'
TOKENS = {
    "prompt": 11,
    "completion": 7,
    "input": 11,
    "output": 7,
}  # used, in the words of two APIs
ODD_COUNTS: list[Any] = [None, {}, "many", 1e30, 2**53 + 1, -1, True]
USAGE = {f"usage {odd}": odd for odd in ODD_COUNTS}
STATUS: dict[
    str, tuple[int, dict[str, str], int]
] = {  # status, headers, times before it is well
    **{f"{n} once": (n, {}, 1) for n in (408, 409, 500)},
    **{f"{n} for ever": (n, {}, 99) for n in (400, 401, 429, 500)},
    "307 elsewhere": (307, {"Location": "/elsewhere"}, 99),
    "429 Retry-After 1 s": (429, {"Retry-After": "1"}, 1),
    "429 Retry-After 300 s": (429, {"Retry-After": "300"}, 99),
    "503 x-should-retry false": (503, {"x-should-retry": "false"}, 99),
}
CONTENT = {  # the answer's text; KEY stands for the caller's key
    "fenced": f"```json\n{GOOD}```",
    "thinks": f"<think>perhaps {{}}</think>\n{GOOD}",
    "not of the schema": '{"sentiment": "so-so"}',
    **{
        f"price {p}": GOOD.replace('ce": null', f'ce": {p}')
        for p in ('"54"', "NaN", "1e999")
    },
    "deep answer": "[" * 200_000,
    "answer echoes the key": '{"product": "KEY", "sentiment": "KEY"}',
    "too long": '{"product": "KEY',
    "refusal": "",
}
ODD = [
    "",
    "null",
    "<html>down</html>",
    '{"choices": [{',
    '{"usage": {}}',
    '{"choices": {"a": 1}}',
]
BODY = {f"body {said}": said for said in ODD}
BODY |= {
    "deep JSON": "[" * 200_000,
    "body echoes the key": '{"object": "KEY", "choices": "KEY"}',
}
FAULTS = [*STATUS, *CONTENT, *USAGE, *BODY, "hangs up", "silent", "drips", "gzip bomb"]


class FaultServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency, self.url = latency, f"http://127.0.0.1:{self.server_port}/v1"
        self.calls: Counter[str] = Counter()  # by fault, "" for good texts
        self.requests: list[tuple[str, dict[str, Any]]] = []  # path and body
        self.together = threading.Barrier(
            1
        )  # good answers come when so many calls wait for one
        # What a test adds: fault -> how to answer it, given the handler and the body.
        self.more: dict[str, Callable[[Handler, dict[str, Any]], None]] = {}
        self.active = self.peak = 0
        self.lock, self.closing = threading.Lock(), threading.Event()

    def handle_error(self, *args: Any) -> None:
        """Clients hang up on purpose here; that is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultServer

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))
        text = (body.get("messages") or body.get("input"))[-1]["content"]
        self.fault = fault = text[1:].split("]")[0] if text.startswith("[") else ""
        with self.server.lock:
            self.server.calls[fault] += 1
            self.server.active += 1
            self.server.peak = max(self.server.peak, self.server.active)
        try:
            self.answer(fault, self.server.calls[fault], body)
        finally:
            with self.server.lock:
                self.server.active -= 1

    def answer(self, fault: str, count: int, body: dict[str, Any]) -> None:
        if fault in self.server.more:
            return self.server.more[fault](self, body)
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        status, headers, times = STATUS.get(fault, (0, {}, 0))
        limits = {"max_completion_tokens", "max_output_tokens", "max_tokens"}
        if not limits & body.keys():
            return self.send(b'{"error": {"message": "no token limit"}}', {}, 400)
        if count <= times:
            half = chr(0xD800) * (status == 400)  # of a surrogate
            said = {
                "message": f"fault {fault}{half}, sent with Bearer {key}{' so' * 150}"
            }
            return self.send(json.dumps({"error": said}).encode(), headers, status)
        if fault in BODY:
            return self.send(BODY[fault].replace("KEY", key).encode(), {})
        if fault == "silent":
            self.server.closing.wait(60)
        if fault == "gzip bomb":  # 100 kB that become 100 MB
            return self.send(
                gzip.compress(b" " * 10**8, 1), {"Content-Encoding": "gzip"}
            )
        reply = completion(fault, text := CONTENT.get(fault, GOOD).replace("KEY", key))
        if not fault:
            self.server.together.wait(60)
            time.sleep(self.server.latency)
        if body.get("stream"):
            return self.send(
                stream(text, reply).encode(), {"Content-Type": "text/event-stream"}
            )
        return self.send(json.dumps(reply).encode(), {})

    def send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        cut = {"hangs up": len(data), "drips": 10**6}.get(self.fault)
        self.send_response(status)
        echo = {"X-Request-Id": self.headers.get("Authorization", "")}
        length = {
            "Content-Type": "application/json",
            "Content-Length": str(cut or len(data)),
        }
        for name, value in (length | echo | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:300] if cut else data)
        while self.fault == "drips" and not self.server.closing.wait(0.05):
            self.wfile.write(b" ")
        self.close_connection = bool(cut)


def completion(fault: str, text: str) -> dict[str, Any]:
    """Return a reply, good but for the fault, in the form of either API."""
    sorry, long = None if text else "I can't help with that.", fault == "too long"
    message = {"role": "assistant", "content": text or None, "refusal": sorry}
    kind = ("refusal", "refusal", sorry) if sorry else ("output_text", "text", text)
    said = {"type": kind[0], kind[1]: kind[2], "annotations": []}
    usage: Any = {f"{side}_tokens": n for side, n in TOKENS.items()} | {
        "total_tokens": 18
    }
    if fault in USAGE:
        counts = {f"{side}_tokens": USAGE[fault] for side in TOKENS}
        usage = counts if type(USAGE[fault]) in (int, float, bool) else USAGE[fault]
    return {
        **{
            "id": "x",
            "object": "chat.completion",
            "model": "fake",
            "created": 0,
            "created_at": 0,
        },
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "length" if long else "stop",
            }
        ],
        "output": [
            {"type": "message", "id": "x", "role": "assistant", "content": [said]}
        ],
        "status": "incomplete" if long else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if long else None,
        "usage": usage,
    }


def stream(text: str, reply: dict[str, Any]) -> str:
    """Return the reply as events of eight characters each."""
    events: list[dict[str, Any]] = []
    for piece in (text[i : i + 8] for i in range(0, len(text), 8)):
        event = {"type": "response.output_text.delta", "delta": piece}
        events.append(event | {"choices": [{"index": 0, "delta": {"content": piece}}]})
    stop = {
        "index": 0,
        "delta": {},
        "finish_reason": reply["choices"][0]["finish_reason"],
    }
    events.append({"type": "response.output_text.done", "choices": [stop]})
    end = {"type": f"response.{reply['status']}", "response": reply}
    events.append(end | {"choices": [], "usage": reply["usage"]})
    chunk = {"object": "chat.completion.chunk", "id": "x", "model": "m", "created": 0}
    return "".join(f"data: {json.dumps(chunk | event)}\n\n" for event in events)


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
            server.together.abort()
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with running(*map(float, sys.argv[1:])) as service:
        print(service.url, flush=True)
        sys.stdin.readline()
