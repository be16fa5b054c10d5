"""Keep a service's rate limits from our side, over all threads of the process."""

import asyncio
import threading
import time

CATCH_UP = 0.1  # seconds of the schedule that a late wake-up may make up for


class Pace:
    """Space requests evenly, so that no minute holds more than the service allows.

    Services enforce a limit per minute by the second, so a minute's requests sent at
    once would be refused. A limit of None is no limit.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
    ) -> None:
        self.request_seconds = 60 / requests_per_minute if requests_per_minute else 0
        self.token_seconds = 60 / tokens_per_minute if tokens_per_minute else 0
        self.free_at = 0.0
        self.lock = threading.Lock()

    async def turn(self, tokens: float) -> None:
        """Wait until a request of so many tokens may be sent, and count it."""
        wait = self.take(tokens, time.monotonic())
        while wait > 0:
            await asyncio.sleep(wait)
            wait = self.take(tokens, time.monotonic())

    def take(self, tokens: float, now: float) -> float:
        """Count a request and return 0, or return the seconds until one may be sent."""
        with self.lock:
            wait = self.free_at - now
            if wait > 0:
                return wait
            seconds = max(self.request_seconds, tokens * self.token_seconds)
            self.free_at = max(self.free_at, now - CATCH_UP) + seconds
            return 0

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for so many seconds: a service asked for it in Retry-After."""
        with self.lock:
            self.free_at = max(self.free_at, now + seconds)
