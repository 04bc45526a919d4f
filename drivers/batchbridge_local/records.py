"""What stands on disk of a job: three records, each one JSON line and its checksum.

Named tuples and the standard JSON module, because the supervisor imports this: data classes and
msgspec would double its start-up time.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

VERSION = 1
"""The version of the spool's layout and of these records."""

RESERVE = 4096
"""Bytes set aside at submit for the end of a job, so that a full disk cannot lose it."""

ID_LENGTH = 24
"""Hexadecimal digits of a job's id."""


class Job(NamedTuple):
    """What to run. Times are seconds since the epoch, durations seconds, sizes bytes."""

    id: str
    key: str
    digest: str
    name: str
    job_set: str
    user: str
    labels: dict[str, str]
    command: list[str]
    env: dict[str, str]  #: the whole environment of the command but for its secrets
    secrets: list[str]  #: their names; the values are in a file that the runner removes
    workdir: str
    cpu: float
    memory: int
    cpu_bound: float  #: start only where all running jobs and this one stay within
    memory_bound: int
    grace: float  #: between SIGTERM and SIGKILL
    timeout: float | None
    queue_timeout: float | None
    submitted_at: float
    boot: str  #: the run of the machine that it belongs to; a restart ends it


class End(NamedTuple):
    """How a job ended; the words are those of ``batchbridge.model``."""

    state: str
    at: float
    cause: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""


class Claim(NamedTuple):
    """Who runs a job. Made once, by ``link``, before the command may run.

    ``end`` stands where nobody runs it: the supervisor claimed the job to end it unstarted.
    """

    pid: int  #: the runner, which leads the session of the command
    identity: str  #: of that process; see `processes`
    boot: str
    node: str
    at: float
    end: End | None = None


class Corrupt(Exception):
    """The bytes are not a whole record of this version."""


R = TypeVar("R", Job, Claim, End)


def seal(record: Job | Claim | End) -> bytes:
    """The record as bytes that :func:`unseal` accepts only whole."""
    body = json.dumps(record._asdict(), separators=(",", ":")).encode()
    return b"%s\n%08x\n" % (body, crc32(body))


def unseal(kind: type[R], data: bytes) -> R:
    """The record that :func:`seal` wrote, padded or not; Corrupt where a byte is wrong."""
    body, _, rest = data.partition(b"\n")
    if rest[:9] != b"%08x\n" % crc32(body):
        raise Corrupt("its checksum does not match: it is cut short or damaged")
    try:
        return _built(kind, json.loads(body))
    except (TypeError, ValueError) as error:
        raise Corrupt(f"it is no {kind.__name__} record: {error}") from None


def _built(kind: type[R], fields: dict[str, Any]) -> R:
    if fields.get("end") is not None:
        fields["end"] = End(*fields["end"])
    return kind(**fields)
