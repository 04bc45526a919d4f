"""The nouns: frozen data classes that the core, the drivers and their users share.

Nothing here does I/O, and nothing here knows an engine. Times are seconds since the epoch in UTC,
durations are seconds, sizes are bytes; :func:`rfc3339` is how a time is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import quote, unquote

import msgspec

from batchbridge.errors import BatchBridgeError, SpecError
from batchbridge.values import (
    check,
    check_amount,
    check_duration,
    check_text,
    convert,
    read_size,
    read_time,
    suggestion,
)

Scope: TypeAlias = tuple[str, ...]
"""What one watch covers, e.g. ``()``, ``("namespace",)``, ``("queue", "job set")``."""

Stream: TypeAlias = Literal["stdout", "stderr"]


class JobState(StrEnum):
    """Where a job is. The order is in :data:`batchbridge.states.ORDER`."""

    SUBMITTED = "SUBMITTED"  #: the engine owns the job
    QUEUED = "QUEUED"  #: it waits for a place
    LEASED = "LEASED"  #: a place is promised
    PENDING = "PENDING"  #: the place is being prepared: image pull, volumes, set-up
    RUNNING = "RUNNING"  #: the command runs
    SUCCEEDED = "SUCCEEDED"  #: the command ended with exit code 0
    FAILED = "FAILED"  #: it ended otherwise, or could not be run; the cause says why
    CANCELLED = "CANCELLED"  #: somebody asked for its end
    LOST = "LOST"  #: the engine has forgotten it, on evidence

    @property
    def ending(self) -> bool:
        """Whether an attempt in this state has ended."""
        return self in _ENDINGS


_ENDINGS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})


class Cause(StrEnum):
    """Why a job ended: a second axis beside the state. ``SUCCEEDED`` has none."""

    EXIT_CODE = "EXIT_CODE"
    SIGNAL = "SIGNAL"
    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    PREEMPTED = "PREEMPTED"
    EVICTED = "EVICTED"
    NODE_LOST = "NODE_LOST"
    IMAGE = "IMAGE"
    START_ERROR = "START_ERROR"
    SPEC = "SPEC"
    REJECTED = "REJECTED"  #: refused by the engine after it had accepted the job
    UNSCHEDULABLE = "UNSCHEDULABLE"  #: the queue timeout passed
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"  #: the engine did not say; counts as empty


# -- what a user asks for --------------------------------------------------------------------

LIMITS = ("timeout", "queue_timeout", "start_timeout")
"""The fields of a job that are limits of time, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One command and what it needs. :meth:`parse` reads the form of files and keyword arguments.

    A value of ``None`` means: the engine's default. What an engine cannot give is refused before
    any I/O (:class:`~batchbridge.errors.Unsupported`), never dropped.
    """

    command: tuple[str, ...]  #: program and arguments; no shell is added
    name: str = ""  #: for people; need not be unique
    env: Mapping[str, str] = field(default_factory=dict)  #: the only variables that travel
    secrets: Mapping[str, str] = field(default_factory=dict)  #: NAME -> source, see `secrets`
    cpu: float | None = None  #: cores
    memory: int | None = None  #: bytes
    disk: int | None = None  #: bytes
    gpu: int | None = None  #: devices
    image: str | None = None
    workdir: str | None = None
    upload: tuple[str, ...] = ()  #: paths of the submitter that travel with the job
    timeout: float | None = None  #: seconds that the command may run
    queue_timeout: float | None = None  #: seconds from submit to the start of the command
    start_timeout: float | None = None  #: seconds from a place to the start of the command
    labels: Mapping[str, str] = field(default_factory=dict)
    job_set: str | None = None  #: the name of jobs that belong together
    options: Mapping[str, Any] = field(default_factory=dict)  #: the driver's own, see `Options`
    reruns: bool = False  #: may the engine run the command again? Then two may run at once

    def __post_init__(self) -> None:
        check(bool(self.command) and bool(self.command[0]), "command", "is empty")
        for name in ("cpu", "memory", "disk", *LIMITS):
            value = getattr(self, name)
            check(value is None or value > 0, name, "must be more than 0")
        check(self.gpu is None or self.gpu >= 0, "gpu", "must not be negative")
        for name in ("cpu", "memory", "disk", "gpu"):
            check_amount(name, getattr(self, name) or 0)
        for name in LIMITS:
            check_duration(name, getattr(self, name) or 0)
        for name in (*self.env, *self.secrets):
            check(_VARIABLE.fullmatch(name) is not None, "env", f"{name!r} is no variable name")
        twice = sorted(self.env.keys() & self.secrets.keys()) if self.secrets else ()
        check(not twice, "secrets", f"{', '.join(twice)} is named in env too")
        for name in _TEXTS:
            if value := getattr(self, name):
                check_text(name, value)

    @classmethod
    def parse(cls, form: Mapping[str, Any]) -> Self:
        """Read the form that a jobs file, the flags and keyword arguments share.

        Sizes may be ``"4G"`` (K, M, G, T are powers of 1024), times ``"90s"``, ``"10m"``, ``"2h"``;
        ``command`` is a list, or a string for ``sh -c``. Raises :class:`SpecError` naming the
        field, with a suggestion where a name is unknown.
        """
        for name in form:
            if name not in _FIELDS:
                problem = f"{name} is no field of a job{suggestion(str(name), _FIELDS)}"
                raise SpecError(problem, path=str(name))
        plain = {k: _READERS.get(k, _same)(k, v) for k, v in form.items() if v is not None}
        check("command" in plain, "command", "is missing")
        spec: Self = convert(plain, cls)
        return spec

    def to_json(self) -> dict[str, Any]:
        """The same form again, without what is at its default: ``parse`` of it is equal."""
        everything: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in everything.items() if value != _BLANK[name]}


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXTS = ("command", "name", "env", "secrets", "image", "workdir", "upload", "labels", "job_set")


def _read_command(path: str, value: Any) -> Any:
    return ["sh", "-c", value] if isinstance(value, str) else value


def _read_number(path: str, value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise SpecError(f"{path}: {value!r} is no number", path=path) from None


def _read_texts(path: str, value: Any) -> Any:
    """A mapping as it is; a value that is no text is named, as :func:`convert` does not do."""
    for name, text in value.items() if isinstance(value, Mapping) else ():
        check(isinstance(text, str), f"{path}.{name}", f"is {type(text).__name__}, not text")
    return value


def _same(path: str, value: Any) -> Any:
    return value


_READERS = {
    "command": _read_command,
    "env": _read_texts,
    "secrets": _read_texts,
    "labels": _read_texts,
    "cpu": _read_number,
    "memory": read_size,
    "disk": read_size,
    "timeout": read_time,
    "queue_timeout": read_time,
    "start_timeout": read_time,
}


_FIELDS = tuple(f.name for f in fields(JobSpec))

_BLANK: dict[str, Any] = {**msgspec.to_builtins(JobSpec(command=(" ",))), "command": None}
"""What a job's form leaves out; never its command."""


class Secret:
    """A value that must not be seen: it has no useful repr, no equality, no pickle, no JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one place that hands it to the engine."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, slots=True)
class Gang:
    """Jobs that start together or not at all; ``index`` counts from 0 to ``size - 1``."""

    id: str
    size: int
    index: int


@dataclass(frozen=True, slots=True)
class Files:
    """The user's files as one gzipped tar: in ``data``, or fetched from ``location``.

    ``location`` is an ``https://`` address that may be read as it is, or ``file:///shared/path``.
    """

    digest: str  #: sha256 of the archive, hex
    size: int  #: bytes of the archive
    data: bytes | None = field(default=None, repr=False)
    location: str | None = field(default=None, repr=False)  #: its signature lets anybody read


@dataclass(frozen=True, slots=True)
class Submission:
    """What a driver gets: a spec, and the key that makes submitting it idempotent in its scope."""

    key: str
    spec: JobSpec
    job_set: str
    user: str
    gang: Gang | None = None
    files: Files | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("key", "user", "job_set"):  # a job set may be named by the others
            check_text(name, getattr(self, name))

    @property
    def digest(self) -> str:
        """Hex sha256 of the spec and its files; equal for equal work, wherever it is submitted.

        The job set is left out: its default names the day, and a repeated submit may cross it.
        """
        form = {**self.spec.to_json(), "job_set": None, "upload": None}
        form["files"] = self.files.digest if self.files else None
        return sha256(msgspec.json.encode(form, order="sorted")).hexdigest()


# -- what an engine says ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """The engine said this of one attempt of one job. A fact, never a conclusion.

    An ending is ``final`` when the engine will do nothing more and no process of the job is left
    as far as it can tell, ``again`` when it ends this attempt and opens the next, and provisional
    with neither. Raises ValueError where the fields contradict each other, so that a driver's slip
    shows at once.
    """

    id: str
    state: JobState
    attempt: int | None = None  #: counted from 1 by the engine, or None: the core counts
    again: bool = False
    final: bool = False
    seq: tuple[int, ...] | None = None  #: orders what it stands on; one per observation
    at: float | None = None  #: on the engine's clock
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    node: str = ""

    def __post_init__(self) -> None:
        problem = _contradiction(self)
        if problem:
            raise ValueError(f"{problem}: {self.id} {self.state}")


def _contradiction(seen: Seen) -> str:
    ended = seen.state.ending
    facts = seen.exit_code is not None or seen.signal is not None or seen.cause is not None
    if not ended:
        return (
            "only an ending is final, again, or has a cause"
            if (facts or seen.again or seen.final)
            else _bad_attempt(seen)
        )
    if seen.state is JobState.LOST:
        return "LOST is concluded by the core, from Absent"
    if seen.again and (seen.final or seen.seq is None):
        return "again is not final, and needs a seq"
    if seen.exit_code is not None and seen.signal is not None:
        return "exit_code and signal exclude each other"
    if seen.state is JobState.SUCCEEDED and (seen.exit_code or seen.signal or seen.cause):
        return "a success has exit code 0 and no cause"
    if seen.state is JobState.FAILED and seen.cause is Cause.CANCELLED:
        return "what was cancelled is CANCELLED, not FAILED"
    return _bad_attempt(seen)


def _bad_attempt(seen: Seen) -> str:
    return "attempts count from 1" if seen.attempt is not None and seen.attempt < 1 else ""


@dataclass(frozen=True, slots=True)
class Absent:
    """An authoritative answer denies holding a job that was asked for. ``at``: the asker's clock.

    "Not yet known" is silence. A driver that cannot tell the two apart never says this.
    """

    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Intent:
    """What the client asked of the engine (cancel, timeout), and why. ``at``: the asker's clock.

    Where a cancel enforces an earlier ending (a job that may not be run again), that ending's
    exit code, signal and message come along.
    """

    cause: Cause
    at: float
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A snapshot was answered at ``now``, on the asker's clock."""

    now: float


Observation: TypeAlias = Seen | Absent | Intent | Tick


@dataclass(frozen=True, slots=True)
class Batch:
    """Observations in order, and where a watch resumes; a cursor of None means: unchanged."""

    observations: tuple[Seen | Absent, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one submission. ``id`` and ``error`` exclude each other.

    ``created`` is False when the key was known and this is the older job, None when the engine
    does not tell. ``notes``: what the submitter of an accepted job should know of it, a sentence
    each, e.g. what of a template does not stand.
    """

    key: str
    id: str | None = None
    created: bool | None = None
    error: BatchBridgeError | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogPage:
    """The next bytes of one stream of one attempt, and the cursor that follows them.

    ``eof``: nothing can follow. ``truncated``: bytes before ``data`` were lost to rotation or
    garbage collection.
    """

    data: bytes
    cursor: str
    eof: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """One job that an engine holds, as :meth:`BatchDriver.list` tells it."""

    scope: Scope
    name: str
    job_set: str
    user: str
    seen: Seen
    submitted_at: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is: one sentence, and what to do about it (may be empty)."""

    summary: str
    remedy: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.summary, self.remedy)))


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``batchbridge doctor`` looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


# -- names and times -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobRef:
    """``backend://profile/scope…/id``: all it takes to find a job again. It holds no secret.

    ``profile`` is a profile's name, or, where settings were given ad hoc, the engine's address.
    """

    backend: str
    profile: str
    scope: Scope
    id: str

    def __str__(self) -> str:
        return "/".join((self.engine, *(quote(part, safe="") for part in (*self.scope, self.id))))

    @property
    def engine(self) -> str:
        """How the references of its engine begin: ``backend://profile``."""
        return f"{self.backend}://{quote(self.profile, safe='')}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference that `text` writes; SpecError where it is none."""
        backend, separator, rest = text.partition("://")
        parts = tuple(unquote(part) for part in rest.split("/"))
        if not (separator and backend and len(parts) >= 2 and all(parts)):
            raise SpecError(
                f"{text!r} is no reference such as 'local://local/01j…'",
                path="ref",
                remedy="batchbridge list shows the references of your jobs",
            )
        return cls(backend, parts[0], parts[1:-1], parts[-1])


def rfc3339(at: float | None) -> str | None:
    """``2026-11-21T10:00:00.123Z``; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
