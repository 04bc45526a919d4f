"""What Nomad answers, typed: the fields that are read here, from lists and from the stream alike.

The stream leaves empty fields out and lists write null for them, so every field has a default.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from batchbridge.errors import TransportError

T = TypeVar("T")

TASK = "main"
"""The name of a job's task, and of its group."""


class TaskEvent(Struct, rename="pascal", frozen=True):
    """One thing that a client did with a task."""

    type: str = ""
    time: int = 0
    display_message: str = ""
    details: dict[str, str] | None = None

    def detail(self, name: str) -> str:
        """That detail, or the empty string."""
        return (self.details or {}).get(name, "")


class TaskState(Struct, rename="pascal", frozen=True):
    """A task of an allocation. Nomad keeps the last ten events."""

    state: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    events: tuple[TaskEvent, ...] | None = None
    failed: bool = False


class Alloc(Struct, rename="pascal", frozen=True):
    """One placing of a job on a node."""

    id: str = field(name="ID")
    job_id: str = field(name="JobID")
    node_id: str = field(name="NodeID", default="")
    node_name: str = ""
    desired_status: str = ""
    desired_description: str = ""
    client_status: str = ""
    client_description: str = ""
    task_states: dict[str, TaskState] | None = None
    followup_eval_id: str = field(name="FollowupEvalID", default="")
    next_allocation: str = ""
    create_index: int = 0
    modify_index: int = 0
    create_time: int = 0

    @property
    def task(self) -> TaskState:
        """The job's task, blank before a client has spoken of it."""
        return (self.task_states or {}).get(TASK) or TaskState()

    @property
    def events(self) -> tuple[TaskEvent, ...]:
        """The task's events, oldest first."""
        return self.task.events or ()


class Job(Struct, rename="pascal", frozen=True):
    """A job as lists tell it."""

    id: str = field(name="ID")
    name: str = ""
    stop: bool = False
    status: str = ""
    submit_time: int = 0
    meta: dict[str, str] | None = None


class Metrics(Struct, rename="pascal", frozen=True):
    """Why the scheduler placed nothing: how many nodes fell out, and by what."""

    node_pool: str = ""
    nodes_available: dict[str, int] | None = None
    constraint_filtered: dict[str, int] | None = None
    dimension_exhausted: dict[str, int] | None = None
    quota_exhausted: tuple[str, ...] | None = None


class Evaluation(Struct, rename="pascal", frozen=True):
    """One look of the scheduler at a job."""

    job_id: str = field(name="JobID", default="")
    triggered_by: str = ""
    failed_tg_allocs: dict[str, Metrics] | None = field(name="FailedTGAllocs", default=None)
    modify_index: int = 0


class Registered(Struct, rename="pascal", frozen=True):
    """The answer to a registered job."""

    warnings: str = ""


class Validity(Struct, rename="pascal", frozen=True):
    """What Nomad says of a job that it is only shown."""

    validation_errors: tuple[str, ...] | None = None
    warnings: str = ""


class Node(Struct, rename="pascal", frozen=True):
    """A machine of the cluster."""

    datacenter: str = ""


class Payload(Struct, rename="pascal", frozen=True):
    """What an event of the stream carries: one of these."""

    allocation: Alloc | None = None
    evaluation: Evaluation | None = None


class StreamEvent(Struct, rename="pascal", frozen=True):
    """One change of one object."""

    payload: Payload = Payload()


class Line(Struct, rename="pascal", frozen=True):
    """One line of the stream; ``{}``, the heartbeat, has no events."""

    index: int = 0
    events: tuple[StreamEvent, ...] = ()


_LINE = msgspec.json.Decoder(Line)


def line(data: bytes) -> Line:
    """A line of the event stream; TransportError if it is none."""
    try:
        return _LINE.decode(data)
    except msgspec.MsgspecError as error:
        raise TransportError(f"Nomad's event stream cannot be read: {error}") from error


def read(value: Any, kind: type[T]) -> T:
    """A decoded answer as `kind`; TransportError if it is none, but a proxy's page, say."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.MsgspecError as error:
        raise TransportError(f"this is no answer of Nomad's: {error}") from error


_COUNTED = re.compile(r"\d+ (errors? occurred|warnings?): \* ")


def sentence(text: str) -> str:
    """Nomad's words in one line; what it lists, and lists within lists, is enumerated."""
    words = _COUNTED.sub("", " ".join(text.split()))
    return words.replace(": * ", ": ").replace(" * ", "; ")


def seconds(nanoseconds: int) -> float | None:
    """A time of Nomad's in seconds; its zero is None."""
    return nanoseconds / 1e9 if nanoseconds else None


def moment(at: datetime | None) -> float | None:
    """A date of Nomad's in seconds; its zero, in the year 1, is None."""
    return None if at is None or at.year == 1 else at.astimezone(UTC).timestamp()
