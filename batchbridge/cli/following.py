"""Staying with jobs: their changes and output as they come, and what Ctrl-C means."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

import click

from batchbridge.cli.console import coloured, complain, emit, note
from batchbridge.configfiles import printable
from batchbridge.errors import LogsUnavailable, NoSuchJob, TransportError
from batchbridge.jobs import Job, cancel, news
from batchbridge.logs import Decoder, LogChunk
from batchbridge.model import JobState, Stream
from batchbridge.states import Record
from batchbridge.watched import Event

log = logging.getLogger("batchbridge")

PATIENCE: Final = 10.0
"""Seconds that a job may wait before its reason is asked for, and between askings."""

ASKED: Final = 5
"""Waiting jobs whose reasons are asked for."""

SECOND: Final = 3.0
"""Seconds in which a second Ctrl-C cancels what the first one left."""

_MINE: Final = "batchbridge watch --mine"
_WAITING: Final = frozenset({JobState.SUBMITTED, JobState.QUEUED, JobState.LEASED})


class Waits:
    """Says why jobs wait: once they have for ten seconds, and whenever the reason changes.

    Of many only the first few are asked about, which spares the engine.
    """

    def __init__(self) -> None:
        self._told: dict[Job, str] = {}
        self._due: dict[Job, float] = {}

    def turn(self, jobs: Iterable[Job]) -> None:
        """Ask for the reasons that are due. To be called often."""
        waiting = (job for job in jobs if job.record.state in _WAITING)
        now = time.monotonic()
        self._due = {job: self._due.get(job, now + PATIENCE) for job in islice(waiting, ASKED)}
        for job, due in self._due.items():
            if now >= due:
                self._due[job] = now + PATIENCE
                self._tell(job)

    def _tell(self, job: Job) -> None:
        try:
            reason = job.explain()
        except Exception as error:  # an aside must not end the waiting
            log.debug("%s cannot be explained: %s", job.ref, error)
            return
        text = str(reason or "")
        if text and self._told.get(job) != text:
            note(f"{called(job)} waits: {text}")
        self._told[job] = text


class Output:
    """Shows what a job writes: the bytes as they are, or events; markers go to stderr."""

    def __init__(self, job: Job, *, as_json: bool) -> None:
        self._job = job
        self._json = as_json
        self._attempt = 0
        self._decoders: dict[Stream, Decoder] = {"stdout": Decoder(), "stderr": Decoder()}

    def show(self, chunk: LogChunk) -> None:
        """The next chunk of the job's output."""
        if self._attempt and chunk.attempt != self._attempt:
            click.echo(f"-- attempt {chunk.attempt} of {called(self._job)} --", err=True)
        self._attempt = chunk.attempt
        if chunk.truncated:
            click.echo(f"-- {chunk.stream} was lost here: rotated or collected --", err=True)
        if chunk.data:
            self._pass_on(chunk)

    def end(self) -> None:
        """What is left of a character that never became whole."""
        for stream, decoder in self._decoders.items():
            rest = decoder.text(b"", final=True)
            if rest:
                self._event(stream, rest)

    def _pass_on(self, chunk: LogChunk) -> None:
        if self._json:
            text = self._decoders[chunk.stream].text(chunk.data)
            if text:
                self._event(chunk.stream, text)
            return
        target = (sys.stdout if chunk.stream == "stdout" else sys.stderr).buffer
        target.write(chunk.data)
        target.flush()

    def _event(self, stream: Stream, text: str) -> None:
        emit({"event": "log", "ref": str(self._job.ref), "stream": stream, "data": text})


def called(job: Job) -> str:
    """What to call a job when speaking of it: its name and, as names are shared, its id."""
    return f"{printable(job.name)} ({job.ref.id})" if job.name else job.ref.id


def how(record: Record) -> str:
    """How a job ended, or where it is: "FAILED (EXIT_CODE 3)"."""
    return _told(record, record.signal if record.exit_code is None else record.exit_code)


def _told(record: Record, code: int | None = None) -> str:
    state = record.state or ("unknown to its engine" if record.missing else "not known")
    cause = record.cause if str(record.cause) != state else None
    facts = " ".join(str(fact) for fact in (cause, code) if fact not in (None, 0))
    return state + (f" ({facts})" if facts else "")


def shown(record: Record) -> str:
    """The same, its state in colour."""
    plain, state = how(record), str(record.state)
    return coloured(state) + plain.removeprefix(state) if plain.startswith(state) else plain


@dataclass(frozen=True, slots=True)
class Changes:
    """Shows changes: as lines of JSON on stdout, or as lines for people."""

    as_json: bool
    verbose: bool  #: those that are inferred too
    err: bool  #: lines for people go to stderr

    def show(self, events: Iterable[Event]) -> None:
        """These changes, in order."""
        for event in events:
            if self.as_json:
                emit(event.to_json())
            elif self.verbose or not event.inferred:
                click.echo(_line(event), err=self.err)


def _line(event: Event) -> str:
    record = event.record
    moment = time.strftime("%H:%M:%S", time.localtime(event.at or event.observed_at))
    attempt = f"attempt {record.attempt}" if record.attempt > 1 else ""
    inferred = "(inferred)" if event.inferred else ""
    facts = (attempt, record.node, printable(record.message), inferred)
    name = printable(event.name) or event.ref.id
    return " ".join((moment, name, shown(record), *filter(None, facts)))


def follow(job: Job, changes: Changes) -> Record:
    """Show a job's changes and output, interleaved, to its end: its last record."""
    told, waits, output = 0, Waits(), Output(job, as_json=changes.as_json)
    for _ in _output_or_turns(job, output):
        fresh = job.history(told)
        changes.show(fresh)
        told += len(fresh)
        waits.turn([job])
    changes.show(job.history(told))
    return job.wait()


def _output_or_turns(job: Job, output: Output) -> Iterator[None]:
    """Take turns while the job waits, then while its output is shown, then until its end."""
    for _ in news([job]):
        yield
        if job.record.state is not None and job.record.state not in _WAITING:
            break
    try:
        for chunk in job.logs():
            output.show(chunk)
            yield
        output.end()
    except (LogsUnavailable, TransportError) as error:
        note(f"the output of {called(job)} cannot be shown: {error}")
    for _ in news([job]):
        yield


def stay(jobs: Sequence[Job], turn: Callable[[list[Event]], None]) -> None:
    """Stay until the last of the jobs has ended; `turn` gets what is new, often nothing.

    It may add to the jobs.
    """
    waits = Waits()
    for fresh in news(jobs):
        turn(fresh)
        waits.turn(jobs)


@contextmanager
def detaching(jobs: Callable[[], Sequence[Job]]) -> Iterator[None]:
    """Within the block, the first Ctrl-C detaches and a second one, soon after, cancels.

    KeyboardInterrupt goes on afterwards.
    """
    try:
        yield
    except KeyboardInterrupt:
        live = [job for job in jobs() if not job.done()]
        if live:
            _offer_cancel(live)
        raise


@contextmanager
def submitting() -> Iterator[None]:
    """Within the block, Ctrl-C says where it is told what was submitted by then."""
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted while submitting; batchbridge list tells what was submitted")
        raise


def _offer_cancel(jobs: Sequence[Job]) -> None:
    what = "the job goes" if len(jobs) == 1 else f"{len(jobs)} jobs go"
    try:
        note(f"detached; {what} on. To come back: {_way_back(jobs)}")
        note(f"Ctrl-C again within {SECOND:g} s cancels")
        time.sleep(SECOND)
    except KeyboardInterrupt:
        cancel(jobs)
        note("asked to cancel")


def _way_back(jobs: Sequence[Job]) -> str:
    if len(jobs) == 1:
        return f"batchbridge watch --logs {jobs[0].ref}"
    sets = {job.job_set for job in jobs}
    return f"batchbridge watch --job-set {shlex.quote(sets.pop())}" if len(sets) == 1 else _MINE


def tell_where(job: Job) -> None:
    """Say what its engine calls it, and where else to look."""
    try:
        details = job.details()
    except Exception as error:  # an aside must not hide how the job ended
        log.debug("%s cannot be detailed: %s", job.ref, error)
        details = {}
    for label, text in {**job.hints(), **details}.items():
        note(f"{label}: {printable(text)}")


def tell_missing(jobs: Iterable[Job]) -> None:
    """Name the jobs that their engines deny."""
    for job in jobs:
        if job.record.missing:
            complain(NoSuchJob(f"{job.ref.backend} knows no job {job.ref}"))


def summary(jobs: Iterable[Job]) -> str:
    """ "3 jobs: 2 SUCCEEDED, 1 FAILED (EXIT_CODE)"."""
    ends = Counter(_told(job.record) for job in jobs)
    told = ", ".join(f"{number} {end}" for end, number in ends.most_common())
    total = ends.total()
    return f"{total} job{'s' if total != 1 else ''}: {told}"


def exit_status(jobs: Sequence[Job]) -> int:
    """The exit code for jobs that have ended: of one its own, of several 0 if all succeeded."""
    if any(job.record.missing for job in jobs):
        return NoSuchJob.exit_code
    if len(jobs) == 1:
        return jobs[0].record.exit_status
    return int(any(job.record.exit_status for job in jobs))
