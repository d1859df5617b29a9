"""Work in several threads that Ctrl-C stops immediately."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(work: Callable[[Item], None], items: Sequence[Item], threads: int) -> None:
    """Do the work in up to `threads` threads. After an error no item is started, and running ones are waited for.

    On Ctrl-C, a pool of the standard library would keep the process alive until the last request has ended.
    """
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    stop = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            try:
                work(waiting.get_nowait())
            except queue.Empty:
                return
            except BaseException as error:
                errors.append(error)
                stop.set()

    workers = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(items)))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        stop.set()
    if errors:
        raise errors[0]
