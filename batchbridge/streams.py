"""The threads that a driver may need: to read a blocking stream, and to call many times at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from operator import length_hint
from typing import TypeVar

from batchbridge.errors import TransportError

A = TypeVar("A")
T = TypeVar("T")

HEARTBEAT = 1.0
"""Seconds after which a silent stream yields None."""


class _End(Exception):
    """The source ended; its cause, if any, is what it ended with."""


def bridged(
    source: Callable[[], Iterable[T]],
    break_off: Callable[[], None],
    *,
    capacity: int = 10_000,
) -> Generator[T | None, None, None]:
    """Read `source()` in a thread of its own; yield its items, and None after a second of silence.

    An error of the source is raised here, after the items before it. A reader that falls more than
    `capacity` items behind gets TransportError: the rest is a gap, and a snapshot must fill it.
    Closing the generator calls `break_off`, which must make a blocked read return, and waits for
    the thread.
    """
    items: queue.Queue[T | _End] = queue.Queue(capacity + 1)
    thread = threading.Thread(
        target=_read, args=(source, items, capacity), name="batchbridge-stream", daemon=True
    )
    thread.start()
    try:
        yield from _drain(items)
    finally:
        break_off()
        thread.join(timeout=5)


def _read(source: Callable[[], Iterable[T]], items: queue.Queue[T | _End], capacity: int) -> None:
    end = _End()
    try:
        for item in source():
            if items.qsize() >= capacity:
                raise TransportError(f"fell {capacity} messages behind the engine's stream")
            items.put(item)
    except BaseException as error:
        end.__cause__ = error
    items.put(end)


def _drain(items: queue.Queue[T | _End]) -> Iterator[T | None]:
    while True:
        try:
            item = items.get(timeout=HEARTBEAT)
        except queue.Empty:
            yield None
            continue
        if isinstance(item, _End):
            if item.__cause__ is not None:
                raise item.__cause__
            return
        yield item


def mapped(function: Callable[[A], T], items: Iterable[A], *, workers: int = 8) -> Iterator[T]:
    """``function(item)`` for each, by a few threads at once; results as they come, in no order.

    For engines that take one job a request. The first error is raised once no call is under way;
    what was not begun by then is not done.
    """
    return merged(lambda item: (function(item),), items, workers=workers)


def merged(
    function: Callable[[A], Iterable[T]], items: Iterable[A], *, workers: int = 8
) -> Iterator[T]:
    """All that is in ``function(item)``, each read by one of a few threads; as it comes.

    The first error is raised once the others have come to their next result, and go no further.
    """
    source, lock, stop = iter(items), threading.Lock(), threading.Event()
    told: queue.SimpleQueue[tuple[T] | Future[None]] = queue.SimpleQueue()

    def work() -> None:  # a future for each item would cost as much as a cheap call
        while not stop.is_set():
            with lock:
                some = list(islice(source, 1))
            if not some:
                return
            for result in function(some[0]):
                told.put((result,))
                if stop.is_set():
                    return

    with ThreadPoolExecutor(workers, thread_name_prefix="batchbridge-call") as pool:
        at_work = {pool.submit(work) for _ in range(min(workers, length_hint(items, workers)))}
        for worker in at_work:
            worker.add_done_callback(told.put)
        try:
            while at_work:
                news = told.get()
                if isinstance(news, Future):
                    at_work.remove(news)
                    news.result()
                else:
                    yield news[0]
        finally:
            stop.set()
