"""The contract between batchbridge and an engine: what a driver implements.

A driver translates. It says what its engine said, in the words of :mod:`batchbridge.model`, and
concludes nothing: no transition, no grace, no retry of a call. A call that failed raises an error
of :mod:`batchbridge.errors`; an error is never turned into an observation.

Register a driver as an entry point of the group ``batchbridge.drivers``; prove it with
:mod:`batchbridge.testing`. ``examples/third-party-driver`` is a whole one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from batchbridge.model import (
    Batch,
    Check,
    Explanation,
    JobRef,
    JobSpec,
    Listed,
    LogPage,
    Receipt,
    Scope,
    Stream,
    Submission,
)

CONTRACT = 1
"""The version of this interface. A driver states the one it was built for; others are refused."""

Known = Callable[[], Collection[str]]
"""The ids that somebody waits for, now. It is live: ask again, do not keep the answer."""

Support = Literal["enforced", "accounted", "absent"]
"""Of a resource: the engine holds the job to it, only counts it when placing, or knows it not."""

Listing = Literal["absent", "job_set", "all"]
"""Which jobs an engine lists: none, those of a job set that is named, or any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do beyond the floor (submit, exit code, terminal state, cancel, logs).

    A job that needs what is absent is refused before any I/O; but a limit of time is enforced by a
    client that waits, and refused only when nobody does. What is declared is verified by the
    conformance kit.
    """

    idempotency: Literal["exact", "best_effort", "none"] = "none"  #: same key, same job
    idempotency_window: float | None = None  #: seconds that a key is remembered; None: as the job
    push: bool = False  #: `watch` tells of changes as they happen
    absence: bool = False  #: its snapshot can say that a job is not held
    history: bool = False  #: an ended job is still known to a client that comes later
    counts_attempts: bool = False  #: every Seen says of which attempt; each keeps its own logs
    confirms_end: bool = False  #: a job that is ended is told to have, once its processes have
    no_reruns: bool = False  #: the engine promises to run a job's command at most once
    timeout: bool = False  #: the engine ends a job that runs too long, with nobody watching
    queue_timeout: bool = False  #: ... and one that waits too long
    start_timeout: bool = False  #: ... and one whose place is too long in preparation
    gang: bool = False  #: jobs that start together or not at all
    cpu: Support = "absent"
    memory: Support = "absent"
    disk: Support = "absent"
    gpu: Support = "absent"
    image: bool = False  #: the command runs in a container image
    env: bool = True  #: variables reach the command
    secrets: bool = False  #: values reach the command by a way that shows them to nobody else
    plain_secrets: bool = False  #: ... by one that the engine's readers see, if settings allow it
    workdir: bool = True  #: the command's working directory can be chosen
    upload: int | None = None  #: bytes of files that fit into a submission; None: none at all
    streams: Literal["separate", "merged"] = "separate"  #: stdout and stderr; merged: all in stdout
    logs: Literal["bytes", "lines"] = "bytes"  #: lines: a last line without a newline is given one
    labels: bool = False  #: labels are kept with the job and told by `list`
    list: Listing = "absent"  #: jobs can be found again: those of one job set, or any
    cancel_set: bool = False  #: it ends a whole job set by its name, jobs that nobody knows too
    preempt: bool = False  #: running jobs can be made to give up their places
    reprioritise: bool = False  #: a waiting job's priority can be changed
    purge: bool = False  #: jobs that are over can be removed, their logs with them
    explain: bool = False  #: it can say why a job waits
    render: bool = False  #: it can show the native payload without sending it


Size: TypeAlias = Annotated[int, "size"]
"""The type of a setting in bytes; it may be written ``"4G"``."""

Duration: TypeAlias = Annotated[float, "duration"]
"""The type of a setting in seconds; it may be written ``"90s"``, ``"10m"``, ``"2h"``."""


def setting(
    default: Any = MISSING,
    *,
    help: str,
    secret: bool = False,
    env: str | None = None,
    address: bool = False,
    inert: bool = False,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A field of a driver's ``Settings`` or ``Options``: a flag, a profile key, a line of the docs.

    `secret`: masked wherever it is shown. `env`: the engine's own variable for it (``NOMAD_ADDR``),
    asked after every file and before the default. `address`: this one names the engine; it stands
    in a reference where no profile is in use, and credentials from elsewhere never follow it there.
    `inert`: whoever sets it can lead no credential elsewhere, weaken no check, name no file and run
    nothing (a namespace, a priority), so that a checkout's ``batchbridge.toml`` may set it too.
    """
    metadata = {"help": help, "secret": secret, "env": env, "address": address, "inert": inert}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A driver whose jobs have nothing of their own to ask for."""


S = TypeVar("S")


class BatchDriver(ABC, Generic[S]):
    """One engine. Four verbs are required: submit, snapshot, cancel, read_logs.

    Verbs are synchronous and may be called from several threads at once, but for one watch a scope.
    They raise errors of :mod:`batchbridge.errors` and do not retry; the core does. The constructor
    does no I/O and starts nothing.
    """

    name: ClassVar[str]  #: the entry point's name
    contract: ClassVar[int]  #: the version of the contract it was built for: a literal
    capabilities: ClassVar[Capabilities] = Capabilities()
    Settings: ClassVar[type[Any]]  #: frozen dataclass: how to reach the engine
    Options: ClassVar[type[Any]] = NoOptions  #: frozen dataclass: what a job may ask of it

    def __init__(self, settings: S) -> None:
        self.settings = settings

    def scope_of(self, submission: Submission) -> Scope:
        """The scope that this job will belong to. Pure. The default: one scope for all."""
        return ()

    @abstractmethod
    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        """Hand jobs over; yield a receipt as soon as the engine owns, or refuses, each.

        All are of one scope. The same key is the same job, as far as ``capabilities.idempotency``
        says. A job that the engine refuses is ``Receipt.error``; what stops the call raises, and
        then every key without a receipt has an unknown outcome. It may wait some seconds for
        something that the engine says will be there soon. ``spec.options`` are checked; read them
        with :func:`batchbridge.fields.options_from`. Where the engine may rerun a job, keep
        ``spec.reruns`` beside it, so that whoever asks later tells the same end.
        """

    @abstractmethod
    def snapshot(self, scope: Scope, known: Collection[str]) -> Batch:
        """All that the engine says now about the jobs in `known`; more is welcome.

        One job's history may be told as several Seen, in order; an attempt that the engine has
        replaced has ended, and that is told before the next. Silence about a job says nothing;
        Absent says that an authoritative answer denies it.
        """

    @abstractmethod
    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask for their end, queued ones first. Unknown and finished jobs are fine.

        Returning means that the engine was asked. What became of it is observed. `reason` is for
        people; or it is the name of a :class:`~batchbridge.model.Cause`, where the client ends a
        job for that cause. An engine that keeps it can then tell others the cause too.
        """

    @abstractmethod
    def read_logs(
        self,
        ref: JobRef,
        attempt: int,
        stream: Stream,
        cursor: str | None,
        *,
        ended: bool,
        wait: float,
    ) -> LogPage:
        """The bytes after `cursor` (None: from the start), waiting up to `wait` seconds for some.

        Every byte that the engine still has is delivered once and in order to whoever hands the
        cursors on. `ended`: the attempt is known to be over, so an end reached is ``eof``. Not
        started yet is an empty page.
        """

    # -- optional ----------------------------------------------------------------------------

    def watch(self, scope: Scope, cursor: str | None, known: Known) -> Iterator[Batch]:
        """Batches as the engine tells them, until closed; for drivers that declare ``push``.

        The first batch, empty or not, means that nothing after it is missed. At least one a second
        follows outside an engine call, empty when nothing happened. Raises CursorExpired where
        `cursor` no longer leads on. A blocking stream gets all that from
        :func:`batchbridge.streams.bridged`. Without ``push`` the core polls :meth:`snapshot`.
        """
        raise NotImplementedError(f"{self.name} does not push")

    def list(self, job_set: str | None, user: str | None) -> Iterable[Listed]:
        """The jobs that the engine still knows, of that set and that user (None: of any).

        A driver that declares ``list="job_set"`` is always given a set, and may not know users.
        """
        raise NotImplementedError(f"{self.name} does not list")

    def explain(self, ref: JobRef) -> Explanation | None:
        """Why this job is not running; None when there is nothing to say."""
        return None

    def render(self, submission: Submission) -> Mapping[str, Any]:
        """Exactly what :meth:`submit` would send, as JSON values; secrets are named, not shown."""
        raise NotImplementedError(f"{self.name} does not render")

    def linger(self, spec: JobSpec) -> float:
        """Seconds that processes of a job may go on after the engine has told its end.

        Only of a job that was ended, not of one that ended by itself. Pure; asked of drivers that
        do not declare ``confirms_end``. The default: a minute.
        """
        return 60.0

    def hints(self, ref: JobRef) -> Mapping[str, str]:
        """Where else to look, for people: label -> link or command. Pure."""
        return {}

    def details(self, ref: JobRef, attempt: int) -> Mapping[str, str]:
        """What the engine calls the pieces of that attempt: label -> name, or command about it.

        Labels are the field's: allocation, pod, node, datacenter, cluster. Empty where the attempt
        is not known, or has no place yet. The engine is asked.
        """
        return {}

    def release(self, refs: Sequence[JobRef]) -> None:
        """These jobs are over: let go of what was kept for them beside them, such as secrets.

        Their records and their logs stay: others may still read them.
        """
        return

    def purge(self, refs: Sequence[JobRef]) -> None:
        """Remove these jobs, which are over, their logs with them. Unknown ones are fine."""
        raise NotImplementedError(f"{self.name} does not purge")

    def cancel_set(self, scope: Scope, *, job_set: str, reason: str) -> None:
        """Ask for the end of every job of that set in that scope, as :meth:`cancel` does."""
        raise NotImplementedError(f"{self.name} cancels no whole job set")

    def preempt(self, refs: Sequence[JobRef], *, reason: str) -> None:
        """Ask that these running jobs give up their places. What becomes of it is observed."""
        raise NotImplementedError(f"{self.name} does not preempt")

    def reprioritise(self, refs: Sequence[JobRef], priority: float) -> None:
        """Give these jobs another priority; what the number means is the engine's."""
        raise NotImplementedError(f"{self.name} does not reprioritise")

    def probe(self) -> Iterable[Check]:
        """Look whether the engine can be used from here; problems are checks that are not ok."""
        return ()

    def close(self) -> None:
        """Let go of connections. Jobs go on."""
