"""Submitting many jobs: what came of each is told as its answer comes; a bound is held."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

import click

from batchbridge import submit
from batchbridge.cli.console import complain, note
from batchbridge.cli.following import Waits, detaching
from batchbridge.cli.live import progress
from batchbridge.cli.manyjobs import Form, Item
from batchbridge.cli.session import Session
from batchbridge.cli.watching import Mode
from batchbridge.client import Job, news
from batchbridge.errors import BatchBridgeError, SpecError


class Many:
    """The jobs of a file or an array, on their way. They share a job set unless they name one."""

    def __init__(
        self, session: Session, items: Sequence[Item], key: str | None, mode: Mode
    ) -> None:
        self._client = session.client
        self._items = items
        self._key = key or submit.new_key()
        self._mode = mode
        self._jobs: list[Job] = []
        self._refused = 0
        own_set = submit.default_job_set(submit.user_name(), self._key)
        self._defaults: Form = {"job_set": own_set, **session.client.engine.resolved.job}

    def run(self, *, bound: int | None) -> int:
        """Submit all, at most `bound` of them alive at once; stay if asked to: the exit code."""
        self._announce(bound)
        with (
            detaching(lambda: self._jobs),
            progress("submitted", len(self._items)) as advance,
        ):
            if bound is None:
                self._submit(self._items, advance)
            else:
                self._submit_in_turn(bound, advance)
        code = self._mode.stay(self._jobs)
        return BatchBridgeError.exit_code if self._refused else code

    def dry_run(self) -> int:
        """Print what each would send, one line each: the exit code."""
        for item in self._items:
            try:
                payload = self._client.render(self._form(item), key=self._key_of(item))
                click.echo(json.dumps(payload))
            except BatchBridgeError as error:
                self._refuse(item, error)
        return BatchBridgeError.exit_code if self._refused else 0

    def _announce(self, bound: int | None) -> None:
        if bound is not None:
            note(f"at most {bound} at once: this client holds the bound while it submits")
        if self._client.driver.capabilities.idempotency != "none":
            note(f"the same command with --key {self._key} goes on where this one stops")

    def _submit_in_turn(self, bound: int, advance: Callable[[], None]) -> None:
        """Submit as many as there is room for, until one of them has ended makes more."""
        rest, live, waits = deque(self._items), list[Job](), Waits()
        while rest:
            room = min(bound - len(live), len(rest))
            live += self._submit([rest.popleft() for _ in range(room)], advance)
            for _ in news(live) if rest and len(live) >= bound else ():
                waits.turn(live)
                if any(_over(job) for job in live):
                    break
            live = [job for job in live if not _over(job)]

    def _submit(self, items: Sequence[Item], advance: Callable[[], None]) -> list[Job]:
        """Submit these; those that were not refused."""
        for item in items:
            if isinstance(item.form, SpecError):
                self._refuse(item, item.form)
                advance()
        good = [item for item in items if not isinstance(item.form, SpecError)]
        before = len(self._jobs)

        def told(index: int, outcome: Job | BatchBridgeError) -> None:
            if isinstance(outcome, BatchBridgeError):
                self._refuse(good[index], outcome)
            else:
                self._jobs.append(outcome)
                self._mode.tell(outcome)
            advance()

        self._client.submit_many(
            [self._form(item) for item in good],
            keys=[self._key_of(item) for item in good],
            detach=self._mode.detach,
            on_each=told,
        )
        return self._jobs[before:]

    def _form(self, item: Item) -> Form:
        if isinstance(item.form, SpecError):
            raise item.form
        return {"job_set": self._defaults["job_set"], **item.form}

    def _key_of(self, item: Item) -> str:
        return f"{self._key}-{item.index}"

    def _refuse(self, item: Item, error: BatchBridgeError) -> None:
        self._refused += 1
        complain(error, item.where)


def _over(job: Job) -> bool:
    return job.done() or job.record.missing
