"""Run asyncio work from plain code, also where an event loop is running already."""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

Put = Callable[[Any], None]


def run_in_thread(work: Callable[[Put], Coroutine[Any, Any, None]]) -> Iterator[Any]:
    """Yield each item that `work` puts, from an event loop in a thread of its own.

    A notebook or an async server runs a loop already, where asyncio.run would refuse.
    An interrupt, or closing this generator, cancels the work at once.
    """
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    # The task runs in the caller's context, which holds its MLflow trace.
    task = loop.create_task(work(items.put))
    task.add_done_callback(items.put)
    until_done = asyncio.wait([task])
    thread = threading.Thread(target=loop.run_until_complete, args=(until_done,))
    thread.start()
    try:
        item = items.get()
        while item is not task:
            yield item
            item = items.get()
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
    task.result()  # raises what `work` raised
