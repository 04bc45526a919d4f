"""The same jobs from asyncio. Nothing is doubled: these functions wait for the ones you have.

::

    job = await aio.call(client.submit, ["python", "train.py"])
    async for chunk in aio.iterate(job.logs()):
        ...
    record = await aio.wait(job)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import ParamSpec, TypeVar

from batchbridge.errors import BatchBridgeError, WaitTimeout
from batchbridge.jobs import Job, accepted
from batchbridge.states import Record

P = ParamSpec("P")
T = TypeVar("T")


async def call(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``fn(…)`` in a worker thread: for `Client.submit`, `Job.cancel` and all that blocks."""
    return await asyncio.to_thread(fn, *args, **kwargs)


async def iterate(items: Iterator[T]) -> AsyncIterator[T]:
    """What a blocking iterator yields (`Job.logs()`, `Job.events()`), each in a worker thread."""
    end = object()
    while (item := await asyncio.to_thread(next, items, end)) is not end:
        yield item  # type: ignore[misc]


async def wait(job: Job, timeout: float | None = None) -> Record:
    """As `Job.wait`, without a thread of its own: thousands may be awaited at once."""
    deadline = None if timeout is None else time.monotonic() + timeout
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(_: Job) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    job.add_done_callback(tell)
    while not ended.is_set():
        left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
        await _sleep_unless(ended, left)
        _check(job, overdue=left <= 0)
    return job.wait(0)


async def as_completed(jobs: Iterable[Job | BatchBridgeError]) -> AsyncIterator[Job]:
    """As `batchbridge.as_completed`, for ``async for``."""
    tasks = {asyncio.ensure_future(wait(job)): job for job in accepted(jobs)}
    try:
        while tasks:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
                yield tasks.pop(task)
    finally:
        for task in tasks:
            task.cancel()


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), max(seconds, 0.0))
    except TimeoutError:
        return


def _check(job: Job, *, overdue: bool) -> None:
    """Raise what the job's waiters would be told; its not being done yet only when overdue."""
    try:
        job.wait(0)
    except WaitTimeout:
        if overdue:
            raise
