"""Why a job is not running, from the scheduler's last report of it. Pure."""

from __future__ import annotations

import re

from batchbridge.model import Explanation

_REASON = re.compile(r"UnschedulableReason:[ \t]*(?P<reason>.*)")
_EXCLUDED = re.compile(r"^\s+(?P<count>\d+):\s+(?P<reason>\S.*)$", re.M)

REMEDIES = (
    ("selector", "check node_selector: only labels that the executor tracks can match"),
    ("taint", "add a toleration, or let the job run elsewhere"),
    ("insufficient", "wait for other jobs to end, or ask for less"),
    ("limit", "wait: the queue or the round has reached a limit"),
    ("gang", "submit the gang's other members, or make it smaller"),
)
"""What helps, by a word of the reason."""


def explanation(report: str) -> Explanation | None:
    """Why the job waits; None where the report names no reason."""
    found = _REASON.search(report)
    reason = found["reason"].strip() if found else ""
    if reason in ("", "none"):
        return None
    nodes = [f"{m['reason'].strip()} ({m['count']} nodes)" for m in _EXCLUDED.finditer(report)]
    summary = ": ".join(filter(None, (reason, ", ".join(nodes))))
    return Explanation(summary, _remedy(summary.lower()))


def _remedy(reason: str) -> str:
    return next((remedy for word, remedy in REMEDIES if word in reason), "")
