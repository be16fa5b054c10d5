"""A fake service on loopback that fails as it is told, for tests.

A text that begins with `[fault]`, one of FAULTS, is answered with that fault; any other
gets a good answer. It speaks Chat Completions and Responses, plain and streamed, and
embeddings; it refuses a request without a token limit and echoes the caller's key in a
header. No model is behind it.
"""

import gzip
import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

GOOD = '{"product": null, "price": null, "sentiment": "positive"}'
# What an answer used, in the words of both APIs.
TOKENS = {"prompt_tokens": 11, "completion_tokens": 7}
TOKENS |= {"input_tokens": 11, "output_tokens": 7}
ODD_COUNTS: list[Any] = [None, {}, "many", 1e30, 2**53 + 1, -1, True]
USAGE = {f"usage {odd}": odd for odd in ODD_COUNTS}
# Status, headers, and how many calls fail before one is answered.
STATUS: dict[str, tuple[int, dict[str, str], int]] = {
    **{f"{n} once": (n, {}, 1) for n in (408, 409, 500)},
    **{f"{n} for ever": (n, {}, 99) for n in (400, 401, 429, 500)},
    "307 elsewhere": (307, {"Location": "/elsewhere"}, 99),
    "429 Retry-After 1 s": (429, {"Retry-After": "1"}, 1),
    "429 Retry-After 300 s": (429, {"Retry-After": "300"}, 99),
    "503 x-should-retry false": (503, {"x-should-retry": "false"}, 99),
}
PRICES = ('"54"', "NaN", "1e999")
CONTENT = {  # the answer's text; KEY stands for the caller's key
    "fenced": f"```json\n{GOOD}```",
    "thinks": f"<think>perhaps {{}}</think>\n{GOOD}",
    "not of the schema": '{"sentiment": "so-so"}',
    **{f"price {p}": GOOD.replace('ce": null', f'ce": {p}') for p in PRICES},
    "deep answer": "[" * 200_000,
    "answer echoes the key": '{"product": "KEY", "sentiment": "KEY"}',
    "too long": '{"product": "KEY',
    "refusal": "",
}
ODD = ["", "null", "<html>down</html>", '{"choices": [{', '{"usage": {}}']
ODD += ['{"choices": {"a": 1}}']
BODY = {f"body {said}": said for said in ODD}
BODY |= {"deep JSON": "[" * 200_000}
BODY |= {"body echoes the key": '{"object": "KEY", "choices": "KEY"}'}
FAULTS = [*STATUS, *CONTENT, *USAGE, *BODY, "hangs up", "silent", "drips", "gzip bomb"]


class FakeService(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.calls: Counter[str] = Counter()  # by fault, "" for good texts
        self.requests: list[tuple[str, dict[str, Any]]] = []  # path and body
        self.keys: list[str] = []
        # Good answers come when so many calls wait for one.
        self.together = threading.Barrier(1)
        # What a test adds: fault -> how to answer it; and how to answer everything.
        self.more: dict[str, Answer] = {}
        self.always: Answer | None = None
        self.active = self.peak = 0
        self.lock, self.closing = threading.Lock(), threading.Event()

    def handle_error(self, *args: Any) -> None:
        """Ignore clients that hang up, as tests make them do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeService

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = text_of(body)
        self.fault = text[1:].split("]")[0] if text.startswith("[") else ""
        self.key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with server.lock:
            server.requests.append((self.path, body))
            server.keys.append(self.key)
            server.calls[self.fault] += 1
            server.active += 1
            server.peak = max(server.peak, server.active)
        answer = server.more.get(self.fault) or server.always or Handler.answer
        try:
            answer(self, body)
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, body: dict[str, Any]) -> None:
        """Answer as the text's fault says."""
        fault = self.fault
        if self.path.endswith("/embeddings"):
            return self.send_vectors(body)
        status, headers, times = STATUS.get(fault, (0, {}, 0))
        limits = {"max_completion_tokens", "max_output_tokens", "max_tokens"}
        if not limits & body.keys():
            return self.send_json({"error": {"message": "no token limit"}}, 400)
        if self.server.calls[fault] <= times:
            half = chr(0xD800) * (status == 400)  # of a surrogate
            said = f"fault {fault}{half}, sent with Bearer {self.key}{' so' * 150}"
            return self.send_json({"error": {"message": said}}, status, headers)
        if fault in BODY:
            return self.send(BODY[fault].replace("KEY", self.key).encode(), {})
        if fault == "silent":
            self.server.closing.wait(60)
        if fault == "gzip bomb":  # 100 kB that become 100 MB
            bomb = gzip.compress(b" " * 10**8, 1)
            return self.send(bomb, {"Content-Encoding": "gzip"})
        if not fault:
            self.server.together.wait(60)
        self.say(CONTENT.get(fault, GOOD).replace("KEY", self.key), body)

    def say(self, text: str, body: dict[str, Any]) -> None:
        """Answer with this text, as events if the request asks for a stream."""
        reply = completion(self.fault, text)
        if not body.get("stream"):
            return self.send_json(reply)
        self.send(stream(text, reply).encode(), {"Content-Type": "text/event-stream"})

    def send_vectors(self, body: dict[str, Any]) -> None:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [vector(text).tolist() for text in texts]
        data = [{"embedding": one, "index": at} for at, one in enumerate(vectors)]
        self.send_json({"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}})

    def send_json(
        self, said: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send(json.dumps(said).encode(), headers or {}, status)

    def send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        cut = {"hangs up": len(data), "drips": 10**6}.get(self.fault)
        self.send_response(status)
        sent = {"Content-Type": "application/json"}
        sent |= {"Content-Length": str(cut or len(data))}
        sent |= {"X-Request-Id": self.headers.get("Authorization", "")}  # an echo
        for name, value in (sent | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:300] if cut else data)
        while self.fault == "drips" and not self.server.closing.wait(0.05):
            self.wfile.write(b" ")
        self.close_connection = bool(cut)


Answer = Callable[[Handler, dict[str, Any]], None]


def text_of(body: dict[str, Any]) -> str:
    """Return the text that a request ends in."""
    asked = body.get("messages") or body.get("input")
    last = asked[-1] if isinstance(asked, list) else asked
    return str(last["content"] if isinstance(last, dict) else last)


def vector(text: str) -> np.ndarray:
    """Return what the service says of a text, in place of an embedding."""
    seed = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return np.random.default_rng(seed).normal(size=384)


def completion(fault: str, text: str) -> dict[str, Any]:
    """Return a reply, good but for the fault, in the form of either API."""
    sorry, long = None if text else "I can't help with that.", fault == "too long"
    message = {"role": "assistant", "content": text or None, "refusal": sorry}
    said = {"type": "output_text", "text": text, "annotations": []}
    if sorry:
        said = {"type": "refusal", "refusal": sorry}
    output = {"type": "message", "id": "x", "role": "assistant", "content": [said]}
    usage: Any = TOKENS | {"total_tokens": 18}
    if fault in USAGE:
        odd = USAGE[fault]
        usage = dict.fromkeys(TOKENS, odd) if isinstance(odd, int | float) else odd
    stop = "length" if long else "stop"
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "fake",
        "created": 0,
        "created_at": 0,
        "choices": [{"index": 0, "message": message, "finish_reason": stop}],
        "output": [output],
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
    reason = reply["choices"][0]["finish_reason"]
    stop = {"index": 0, "delta": {}, "finish_reason": reason}
    events.append({"type": "response.output_text.done", "choices": [stop]})
    end = {"type": f"response.{reply['status']}", "response": reply}
    events.append(end | {"choices": [], "usage": reply["usage"]})
    chunk = {"object": "chat.completion.chunk", "id": "x", "model": "m", "created": 0}
    return "".join(f"data: {json.dumps(chunk | event)}\n\n" for event in events)


@contextmanager
def running() -> Iterator[FakeService]:
    """Run the service while the block runs; its address is `.url`."""
    with FakeService() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.together.abort()
            server.shutdown()
            thread.join()
