"""Which jobs are meant: one way to say it for every verb that takes jobs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import cleandoc
from typing import Any, Final

import click

from batchbridge.cli.console import complain
from batchbridge.cli.flags import checked_text
from batchbridge.cli.following import tell_missing
from batchbridge.cli.session import EngineCommand, Session
from batchbridge.errors import BatchBridgeError, NoSuchJob, SpecError, UsageError
from batchbridge.jobs import Job, refresh
from batchbridge.journal import Entry, Journal
from batchbridge.model import JobRef, JobState
from batchbridge.values import check_text, read_time

WINDOW: Final = 7 * 86400.0
"""Seconds that are looked back where neither a job set nor --since says how far."""

SHOWN: Final = 5
"""Candidates that the error about an ambiguous word lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the arguments say of the jobs that are meant."""

    words: tuple[str, ...] = ()  #: references, unique prefixes of one, or of an id, names
    job_set: str | None = None
    states: frozenset[JobState] = frozenset()
    since: float | None = None  #: submitted at or after this time
    mine: bool = False

    @property
    def nothing(self) -> bool:
        """Nothing is said."""
        return self == Wanted()

    @property
    def start(self) -> float:
        """Since when jobs are looked for."""
        if self.since is not None:
            return self.since
        return 0.0 if self.job_set is not None else time.time() - WINDOW


@dataclass(slots=True)
class Found:
    """The jobs that are meant, the newest first, and whether some could not be had."""

    jobs: list[Job] = field(default_factory=list)
    partly: bool = False
    asked: dict[JobRef, float] = field(default_factory=dict)  #: their times, by the journal

    def submitted(self, job: Job) -> float | None:
        """When it was submitted: as its engine says, else the journal."""
        return job.record.submitted_at or self.asked.get(job.ref)

    @property
    def exit_code(self) -> int:
        """Of a verb that asks once: 0 if all could be asked."""
        return BatchBridgeError.exit_code if self.partly else 0

    @contextmanager
    def trying(self, where: str) -> Iterator[None]:
        """Within the block, an error is told, and those jobs are left out."""
        try:
            yield
        except BatchBridgeError as error:
            complain(error, where)
            self.partly = True


class JobsCommand(EngineCommand):
    """A command on jobs that are there: its function gets ``wanted``."""

    def __init__(self, *args: Any, words: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if words:
            self.help = f"{cleandoc(self.help or '')}\n\n{_JOB}"
        self._filters = _filters()
        self.params[:0] = [*([_WORDS] if words else []), *self._filters]

    def section_of(self, ctx: click.Context, param: click.Parameter) -> str:
        return "Which jobs" if param in self._filters else super().section_of(ctx, param)

    def invoke(self, ctx: click.Context) -> Any:
        given = ctx.params
        ctx.params["wanted"] = Wanted(
            words=tuple(_expanded(given.pop("words", ()))),
            job_set=given.pop("job_set"),
            states=frozenset(JobState(name) for name in given.pop("state")),
            since=given.pop("since"),
            mine=given.pop("mine"),
        )
        return super().invoke(ctx)


def chosen(session: Session, wanted: Wanted) -> Found:
    """The jobs that are meant; UsageError if none are said, NoSuchJob if there are none."""
    if wanted.nothing:
        raise UsageError(
            "no jobs are named",
            remedy="name them by reference, prefix, name, --job-set, --state, --since or --mine",
        )
    found = find(session, wanted)
    if not found.jobs:
        raise NoSuchJob("there are no such jobs", remedy="batchbridge list shows those there are")
    return found


def find(session: Session, wanted: Wanted) -> Found:
    """The jobs that are meant, as far as the engines can be asked."""
    found = _named(session, wanted) if wanted.words else _known(session, wanted)
    if wanted.states:
        ask(found)
        found.jobs = [job for job in found.jobs if job.record.state in wanted.states]
    return found


def ask(found: Found) -> None:
    """Bring the jobs up to date, each engine asked once; one that cannot be asked is told of."""
    by_engine: dict[str, list[Job]] = {}
    for job in found.jobs:
        by_engine.setdefault(job.ref.engine, []).append(job)
    for engine, jobs in by_engine.items():
        with found.trying(engine):
            refresh(jobs)


def known(found: Found) -> Found:
    """The jobs, brought up to date, but for those that their engines deny; these are named."""
    ask(found)
    tell_missing(found.jobs)
    there = [job for job in found.jobs if not job.record.missing]
    return Found(there, found.partly or len(there) < len(found.jobs), found.asked)


# -- by filters ------------------------------------------------------------------------------


def _known(session: Session, wanted: Wanted) -> Found:
    """The jobs that the journal or the engine know, with what the filters say.

    Of those in the journal, where words are given, only what they may mean: an engine that cannot
    be reached any more is then no matter, unless a job of its is meant.
    """
    found, jobs = Found(), dict[JobRef, Job]()
    for engine, entries in _by_engine(session, wanted).items():
        with found.trying(engine):
            for entry in entries:
                if entry.ref:
                    job = _attach(session, entry.ref, entry)
                    jobs[job.ref], found.asked[job.ref] = job, entry.asked_at
    with found.trying("the list of the engine"):
        jobs |= {job.ref: job for job in _listed(session, wanted)}
    times = {ref: found.submitted(job) or wanted.start for ref, job in jobs.items()}
    found.jobs = sorted(jobs.values(), key=lambda job: times[job.ref], reverse=True)
    return found


def _by_engine(session: Session, wanted: Wanted) -> dict[str, list[Entry]]:
    """What the journal knows of the jobs, for each engine that is meant."""
    groups: dict[str, list[Entry]] = {}
    for entry in session.journal.entries(since=wanted.start, job_set=wanted.job_set):
        if session.covers(entry) and _may_mean(wanted.words, entry):
            groups.setdefault(entry.engine, []).append(entry)
    return groups


def _listed(session: Session, wanted: Wanted) -> list[Job]:
    """What the engine lists, where it can. Its list without a job set is of this user's jobs."""
    client = session.client
    listed = client.driver.capabilities.list
    if listed == "absent" or (listed == "job_set" and wanted.job_set is None):
        return []
    jobs = client.list(wanted.job_set)
    if wanted.mine and wanted.job_set is not None and listed == "all":
        mine = {job.ref for job in client.list(None)}
        jobs = [job for job in jobs if job.ref in mine]
    return [job for job in jobs if (job.record.submitted_at or wanted.start) >= wanted.start]


def _attach(session: Session, ref: str, entry: Entry | None) -> Job:
    name, job_set = (entry.name, entry.job_set) if entry else ("", "")
    return session.client.attach(ref, name=name, job_set=job_set)


# -- by words --------------------------------------------------------------------------------


def _expanded(words: Iterable[str]) -> Iterator[str]:
    """The words, with the lines of stdin in the place of ``-``."""
    for word in words:
        for each in filter(None, map(str.strip, sys.stdin)) if word == "-" else (word,):
            check_text("JOB", each)
            yield each


def _named(session: Session, wanted: Wanted) -> Found:
    """The jobs that the words name, in their order, with what the filters say."""
    only = wanted.words[0] if len(wanted.words) == 1 else None
    submitted = {entry.ref: entry for entry in session.journal.entries(ref=only)}
    recent = Found() if submitted.keys() >= set(wanted.words) else _known(session, wanted)
    named: dict[JobRef, Job] = {}
    for word in wanted.words:
        entry = submitted.get(word)
        for job in [_attach(session, word, entry)] if entry else _matching(session, word, recent):
            named.setdefault(job.ref, job)
            if entry:
                recent.asked[job.ref] = entry.asked_at
    recent.jobs = [job for job in named.values() if _fits(job, wanted)]
    return recent


def _matching(session: Session, word: str, recent: Found) -> list[Job]:
    """All jobs of that name, else the one that the word begins."""
    named = [job for job in recent.jobs if job.name == word]
    if named:
        return named
    begun = [job for job in recent.jobs if _begins(job.ref, word)]
    exact = [job for job in begun if word in (job.ref.id, str(job.ref))]
    if len(exact or begun) > 1:
        raise _ambiguous(word, exact or begun)
    if not begun and "://" in word:
        return [_attach(session, word, None)]
    if not begun:
        raise NoSuchJob(
            f"no job that is known here is called {word!r}, nor does its reference begin so",
            remedy="batchbridge list shows them; --since 30d looks further back than a week",
        )
    return exact or begun


def _may_mean(words: Sequence[str], entry: Entry) -> bool:
    """Whether one of these may mean that submission; any is meant where there are none."""
    if not words or entry.name in words:
        return True
    ref = JobRef.parse(entry.ref) if entry.ref else None
    return ref is not None and any(_begins(ref, word) for word in words)


def _begins(ref: JobRef, word: str) -> bool:
    return ref.id.startswith(word) or str(ref).startswith(word)


def _ambiguous(word: str, jobs: Sequence[Job]) -> SpecError:
    shown = [f"{job.ref} {job.name}".rstrip() for job in jobs[:SHOWN]]
    more = [f"and {len(jobs) - SHOWN} more"] if len(jobs) > SHOWN else []
    return SpecError(
        f"{word!r} may mean any of {len(jobs)} jobs",
        path="ref",
        remedy="\n    ".join(["name one of them:", *shown, *more]),
    )


def _fits(job: Job, wanted: Wanted) -> bool:
    in_set = wanted.job_set is None or job.job_set == wanted.job_set
    submitted = job.record.submitted_at
    return in_set and (wanted.since is None or submitted is None or submitted >= wanted.since)


# -- flags -----------------------------------------------------------------------------------


def _read_since(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A point in time from a duration before now, or from a date."""
    if value is None:
        return None
    if re.match(r"\d{4}-\d\d-\d\d", value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise SpecError(f"since: {value!r} is no date", path="since") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return time.time() - read_time("since", value)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names and references of the journal; no engine is asked."""
    entries = Journal().entries(since=time.time() - WINDOW)
    words = dict.fromkeys(word for e in entries for word in (e.name, e.ref) if word)
    return [word for word in words if word.startswith(incomplete)]


_JOB: Final = (
    "JOB is a reference, a name, a unique prefix of a reference or of an id, or - for those that "
    "stdin names, one a line. Names and prefixes are looked for among the jobs of the last week, "
    "of --since or of --job-set."
)
_WORDS: Final = click.Argument(["words"], nargs=-1, metavar="[JOB]...", shell_complete=_complete)


def _filters() -> list[click.Parameter]:
    return [
        click.Option(
            ["--job-set"], metavar="NAME", callback=checked_text, help="The jobs of that set."
        ),
        click.Option(
            ["--state"],
            multiple=True,
            type=click.Choice([str(state) for state in JobState], case_sensitive=False),
            help="Only jobs in that state; may be repeated.",
        ),
        click.Option(
            ["--since"],
            metavar="TIME",
            callback=_read_since,
            help="Only jobs submitted since: 2h, 30d, or a date such as 2026-11-21 (UTC).",
        ),
        click.Option(["--mine"], is_flag=True, help="Only my jobs."),
    ]
