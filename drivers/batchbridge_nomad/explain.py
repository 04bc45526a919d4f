"""Why a job is not running, in one sentence, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from batchbridge.model import Explanation
from batchbridge_nomad.translate import Known, doing, ending_of
from batchbridge_nomad.wire import Evaluation, Metrics

LACKING = {
    "missing drivers": "no such node has the task driver; choose another with driver=",
    "missing devices": "no such node has the device; check gpu, device and device_constraints",
    "missing compatible host volumes": "no such node has the host volume; check volumes",
    "CSI": "check volumes; nomad volume status shows those of CSI",
    "missing network": "no such node has that network; check network and ports",
}
"""What nodes were found to lack, and what to do."""

PREPARING = {
    "Missing": "write the variable or secret that it names; start_timeout limits the wait",
    "image": "the image is being pulled; start_timeout limits the wait",
}
"""Words of what a node is at, and what to do."""


def explanation(job: Known, evaluations: Sequence[Evaluation]) -> Explanation | None:
    """Why it waits for a place, or for its start; None for one that runs or has ended."""
    last = job.allocs[-1] if job.allocs else None
    if last is None or ending_of(job, len(job.allocs)) is not None:
        return None if job.stopped else _unplaced(evaluations)
    if last.client_status != "pending":
        return None
    said = doing(last)
    remedy = next((help for word, help in PREPARING.items() if word in said), "")
    return Explanation(f"being prepared on {last.node_name}: {said}", remedy)


def _unplaced(evaluations: Iterable[Evaluation]) -> Explanation | None:
    latest = max(evaluations, key=lambda e: e.modify_index, default=None)
    failed = latest.failed_tg_allocs if latest else None
    if latest is None or not failed:
        return None
    metrics = next(iter(failed.values()))
    return Explanation("no place: " + ", ".join(reasons(metrics)), remedy(metrics))


def reasons(metrics: Metrics) -> Iterator[str]:
    """What kept nodes out, each with how many.

    With preemption on, the scheduler looks twice, and says of the second look only that a class of
    nodes was found ineligible before.
    """
    if not _available(metrics):
        yield f"no node in the datacenters asked for (node pool {metrics.node_pool or 'default'})"
        return
    filtered = dict(metrics.constraint_filtered or {})
    cached = filtered.pop("computed class ineligible", 0)
    for what, nodes in filtered.items():
        kind = what if what.startswith(("missing", "CSI")) else f"constraint {what}"
        yield f"{kind} on {_nodes(nodes)}"
    if cached and not filtered:
        lacks = "lack" if cached > 1 else "lacks"
        yield f"{_nodes(cached)} {lacks} a constraint, task driver or device"
    for what, nodes in (metrics.dimension_exhausted or {}).items():
        said = what if ":" in what else f"{what} exhausted"
        yield f"{said} on {_nodes(nodes)}"
    for what in metrics.quota_exhausted or ():
        yield f"quota {what} reached"


def remedy(metrics: Metrics) -> str:
    """What would help."""
    if not _available(metrics):
        return "check datacenters and node_pool; nomad node status shows the nodes"
    filtered = " ".join(metrics.constraint_filtered or {})
    for kind, help in LACKING.items():
        if kind in filtered:
            return help
    if metrics.quota_exhausted:
        return "wait for other jobs of the namespace, or ask for a larger quota"
    if metrics.dimension_exhausted:
        return "wait for other jobs to end, ask for less, or set queue_timeout"
    return "no node fits as things are: loosen constraints, or set queue_timeout"


def _available(metrics: Metrics) -> bool:
    return any((metrics.nodes_available or {}).values())


def _nodes(count: int) -> str:
    return f"{count} node" + ("s" if count > 1 else "")
