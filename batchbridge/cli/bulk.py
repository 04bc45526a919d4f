"""Submitting many jobs: what came of each is told as its answer comes; a bound is held."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

import click

from batchbridge import submit
from batchbridge.cli.console import complain, note
from batchbridge.cli.following import Waits, detaching, submitting
from batchbridge.cli.live import progress
from batchbridge.cli.manyjobs import Form, Item
from batchbridge.cli.session import Session
from batchbridge.cli.watching import Mode
from batchbridge.errors import BatchBridgeError, SpecError
from batchbridge.jobs import Job, news


class Many:
    """The jobs of a file or an array, on their way. They share a job set unless they name one."""

    def __init__(
        self,
        session: Session,
        items: Sequence[Item],
        key: str | None,
        mode: Mode,
        *,
        bound: int | None,
    ) -> None:
        self._client = session.client
        self._items = items
        self._key = key or submit.new_key()
        self._mode = mode
        self._bound = bound  #: how many may be alive at once
        self._rest = deque(items)
        self._jobs: list[Job] = []
        self._refused = 0
        self._noted: set[str] = set()
        own_set = submit.default_job_set(submit.user_name(), self._key)
        self._defaults: Form = {"job_set": own_set, **session.client.engine.resolved.job}

    def run(self) -> int:
        """Submit all; stay if asked to: the exit code."""
        self._announce()
        total = len(self._items)
        with detaching(lambda: self._jobs), progress("submitted", total) as advance:
            self._submit_what_fits(advance)
            if self._mode.detach:
                self._submit_the_rest(advance)
        code = self._mode.stay(self._jobs, total=total, turn=self._submit_what_fits)
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

    def _announce(self) -> None:
        if self._bound is not None:
            note(f"at most {self._bound} at once: this client holds the bound while it submits")
        if self._client.driver.capabilities.idempotency != "none":
            note(f"the same command with --key {self._key} goes on where this one stops")

    def _submit_the_rest(self, advance: Callable[[], None]) -> None:
        """Submit one after the other as jobs end, until all are submitted."""
        waits = Waits()
        for _ in news(self._jobs) if self._rest else ():
            self._submit_what_fits(advance)
            if not self._rest:
                return
            waits.turn(self._jobs)

    def _submit_what_fits(self, advance: Callable[[], None] = lambda: None) -> None:
        """Submit as many as there is room for under the bound; a refused one takes none."""
        while self._rest and (room := self._room()):
            part = [self._rest.popleft() for _ in range(min(room, len(self._rest)))]
            self._submit(part, advance)

    def _room(self) -> int:
        if self._bound is None:
            return len(self._rest)
        alive = sum(not (job.done() or job.record.missing) for job in self._jobs)
        return max(self._bound - alive, 0)

    def _submit(self, items: Sequence[Item], advance: Callable[[], None]) -> None:
        for item in items:
            if isinstance(item.form, SpecError):
                self._refuse(item, item.form)
                advance()
        good = [item for item in items if not isinstance(item.form, SpecError)]

        def told(index: int, outcome: Job | BatchBridgeError) -> None:
            if isinstance(outcome, BatchBridgeError):
                self._refuse(good[index], outcome)
            else:
                self._jobs.append(outcome)
                self._mode.tell(outcome)
                self._tell_notes(outcome)
            advance()

        with submitting():
            self._client.submit_many(
                [self._form(item) for item in good],
                keys=[self._key_of(item) for item in good],
                detach=self._mode.detach,
                on_each=told,
            )

    def _tell_notes(self, job: Job) -> None:
        """Each note once: of many jobs they are mostly the same."""
        for text in dict.fromkeys(job.notes):
            if text not in self._noted:
                self._noted.add(text)
                note(text)

    def _form(self, item: Item) -> Form:
        if isinstance(item.form, SpecError):
            raise item.form
        return {"job_set": self._defaults["job_set"], **item.form}

    def _key_of(self, item: Item) -> str:
        return f"{self._key}-{item.index}"

    def _refuse(self, item: Item, error: BatchBridgeError) -> None:
        self._refused += 1
        complain(error, item.where)
