"""The threads that a driver may need: to read a blocking stream, and to call many times at once."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from operator import length_hint
from typing import Any, TypeVar

from batchbridge.errors import TransportError

A = TypeVar("A")
E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

HEARTBEAT = 1.0
"""Seconds after which a silent stream yields None."""

HELD = 16
"""Results that may wait to be taken; when there are as many, the threads that call wait too."""


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
    thread = _thread("batchbridge-stream", _read, source, items, capacity)
    try:
        yield from _drain(items)
    finally:
        break_off()
        thread.join(timeout=5)


def _read(source: Callable[[], Iterable[T]], items: queue.Queue[T | _End], capacity: float) -> None:
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

    After an error no thread goes beyond its next result; then it is raised. Of several errors it is
    one that leaves it open whether the engine has heard the call. Ctrl-C waits for no thread.
    """
    source, lock, stop = iter(items), threading.Lock(), threading.Event()
    told: queue.Queue[T | _End] = queue.Queue(HELD)

    def results() -> Iterator[T]:
        while not stop.is_set():
            with lock:
                some = list(islice(source, 1))
            if not some:
                return
            for result in function(some[0]):
                yield result
                if stop.is_set():
                    return

    # A future for each item would cost as much as a cheap call.
    many = min(workers, length_hint(items, workers))
    threads = [_thread("batchbridge-call", _read, results, told, inf) for _ in range(many)]
    problems: list[BaseException] = []
    try:
        for _ in threads:
            problem = yield from _until_end(told)
            if problem is not None:
                stop.set()
                problems.append(problem)
    finally:
        stop.set()
        _let_go(threads, told)
    if problems:
        raise foremost(problems)


def foremost(problems: Sequence[E]) -> E:
    """Which of these errors to raise: one after which the engine may have heard the call, if any.

    It is the one that a caller has to act upon.
    """
    in_doubt = (p for p in problems if isinstance(p, TransportError) and p.sent)
    return next(in_doubt, problems[0])


def _let_go(threads: Iterable[threading.Thread], told: queue.Queue[Any]) -> None:
    """Wait for these threads, which are to stop; not after Ctrl-C."""
    waits = not _interrupted()
    for thread in threads:
        while waits and thread.is_alive():
            with suppress(queue.Empty):
                told.get(timeout=0.01)
    with suppress(queue.Empty):  # room for what each would still tell
        while True:
            told.get_nowait()


def _interrupted() -> bool:
    """Whether what is being handled, or what led to it, is Ctrl-C."""
    error = sys.exception()
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    """A thread that runs, and that the interpreter's end does not wait for."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


def _until_end(told: queue.Queue[T | _End]) -> Generator[T, None, BaseException | None]:
    """What is told before the next end; returns the error that it came with, if any."""
    while not isinstance(news := told.get(), _End):
        yield news
    return news.__cause__
