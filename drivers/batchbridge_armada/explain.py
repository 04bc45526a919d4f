"""Why a job is where it is, from the scheduler's last report of it and from its details. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchbridge.model import Explanation
from batchbridge_armada.about import kubectl, last_run
from batchbridge_armada.translate import words

if TYPE_CHECKING:
    from armada_client.armada.job_pb2 import JobDetails

_REASON = re.compile(r"UnschedulableReason:[ \t]*(?P<reason>\S.*)")
_EXCLUDED = re.compile(r"^\s+(?P<count>\d+):\s+(?P<reason>\S.*)$", re.M)

REMEDIES = (
    ("exceeds the total limit", "ask for less: nothing there has as much"),
    ("selector", "check node_selector: only labels that the executor tracks can match"),
    ("taint", "add a toleration, or let the job run elsewhere"),
    ("insufficient", "wait for other jobs to end, or ask for less"),
    ("limit", "wait: the queue or the round has reached a limit"),
    ("gang", "submit the gang's other members, or make it smaller"),
)
"""What helps a job that has no place, by a word of the scheduler's reason."""

EVICTED = (
    (re.compile(r"EmptyDir.*exceed", re.I), "raise the volume's sizeLimit, or write less to it"),
    (re.compile(r"ephemeral.*exceed|exceed.*ephemeral", re.I), "ask for more disk, or write less"),
)
"""What helps a job that wrote too much, by the kubelet's words."""


def waiting(report: str) -> Explanation | None:
    """Why a job that has no place waits; None where the report names no reason."""
    named = [found["reason"].strip() for found in _REASON.finditer(report)]
    reason = next((one for one in named if one != "none"), "")
    if not reason:
        return None
    nodes = [f"{m['reason'].strip()} ({m['count']} nodes)" for m in _EXCLUDED.finditer(report)]
    summary = ": ".join(filter(None, (reason, ", ".join(nodes))))
    return Explanation(summary, _remedy(summary.lower()))


def placed(job: JobDetails) -> Explanation | None:
    """Why a job that has a place does not run yet."""
    run = last_run(job)
    if run is None:
        return None
    where = " on node ".join(filter(None, (run.cluster, run.node)))
    return Explanation(
        f"its pod is being prepared in {where}",
        f"see what Kubernetes says of it: "
        f"{kubectl('describe pod', job.job_id, job.namespace, run.cluster)}",
    )


def over(job: JobDetails, error: str, *, rejected: bool) -> Explanation | None:
    """How a job that has ended did, in the words that Armada has for it.

    `rejected`: they are the scheduler's, which gave it no place.
    """
    if error:
        return Explanation(words(error), _remedy(error.lower()) if rejected else _after(error))
    by = f" by {job.cancel_user}" if job.cancel_user else ""
    why = f": {job.cancel_reason}" if job.cancel_reason else ""
    return Explanation(f"cancelled{by}{why}") if by or why else None


def _remedy(reason: str) -> str:
    return next((remedy for word, remedy in REMEDIES if word in reason), "")


def _after(reason: str) -> str:
    return next((remedy for pattern, remedy in EVICTED if pattern.search(reason)), "")
