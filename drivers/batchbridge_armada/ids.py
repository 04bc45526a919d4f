"""What Armada's ids tell: a job's when it was submitted, a message's where it stands. Pure."""

from __future__ import annotations

import re

_ULID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
_DIGITS = str.maketrans("0123456789abcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv")
"""Crockford's base 32, in which a ULID is written, as Python writes it."""


def submitted_at(job_id: str) -> float | None:
    """When that job was submitted, on Armada's clock; None if this is no id of Armada's."""
    small = job_id.lower()
    if not _ULID.fullmatch(small):
        return None
    return int(small[:10].translate(_DIGITS), 32) / 1000


def sequence(message_id: str) -> tuple[int, ...] | None:
    """Where a message stands among those of its job set; None if this is no message's id."""
    parts = message_id.split(":")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        return None
    return tuple(int(part) for part in parts[:3])


def moment(message_id: str) -> float:
    """When a message was stored, on Armada's clock."""
    return int(message_id.partition(":")[0]) / 1000


def position(at: float) -> str:
    """The id from which a stream tells what was stored at that time and later."""
    return f"{max(int(at * 1000), 0)}:0:0:1"
