"""What must be alike of two recordings of one thing: keys, statuses, and their order. Pure.

Times, ids and indexes differ, and so does how often a client told of a task on its way.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

UNEQUAL = ("ScoreMetaData", "ClassEligibility", "ResourcesExhausted", "Meta", "Details")
"""Below these, what there is depends on the machine, or is compared as a whole."""

VARYING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"(conflicting job modify index: )\d+"), r"\1<index>"),
    (re.compile(r"(Failed to pull `[^`]*`: ).*", re.DOTALL), r"\1<words>"),
    (re.compile(r'(Exit Message: )".*"', re.DOTALL), r"\1<words>"),
)


RACING = ("reconnect", "max-plan-attempts", "node-update", "max-disconnect-timeout")
"""Which of the evaluations that were triggered so comes first, two clocks of Nomad's decide."""

INHERITED = "JobModifyIndex"
"""An evaluation that waits has it, or has it not, from the one that it came of."""


def plain(text: str) -> str:
    """A text without what is another one each time."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text


def keys(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all keys of a value; those below null are not there."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != INHERITED:
                yield f"{path}{name}"
            if name not in UNEQUAL:
                yield from keys(inner, f"{path}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner, path)


def differences(old: Any, new: Any) -> str:
    """How two likenesses differ; empty where they do not."""
    lines = (
        json.dumps(one, indent=1, sort_keys=True).splitlines(keepends=True) for one in (old, new)
    )
    return "".join(difflib.unified_diff(*lines, "recorded", "now", n=2))


def of_recording(made: Any) -> dict[str, Any]:
    """What must be alike of two recordings of a job's life."""
    events = [e for line in made["lines"] for e in line["Events"] if not _racing(e)]
    kinds = sorted({(event["Topic"], event["Type"]) for event in events})
    return {
        "job": [*sorted(keys(made["job"])), made["job"]["Status"], made["job"]["Stop"]],
        "allocations": [_allocation(alloc) for alloc in made["allocations"]],
        "evaluations": [_evaluation(one) for one in _in_order(made["evaluations"])],
        "keys": {
            f"{topic} {kind}": sorted(
                {k for e in events if (e["Topic"], e["Type"]) == (topic, kind) for k in keys(e)}
            )
            for topic, kind in kinds
        },
        "order": list(_order(made["lines"])),
    }


def _in_order(things: list[Any]) -> list[Any]:
    kept = [thing for thing in things if thing["TriggeredBy"] not in RACING]
    return sorted(kept, key=lambda thing: thing["CreateIndex"])


def _allocation(alloc: Any) -> dict[str, Any]:
    task = (alloc["TaskStates"] or {}).get("main", {"Events": []})
    said = ("DesiredStatus", "DesiredDescription", "ClientStatus", "ClientDescription")
    return {
        "keys": sorted(set(keys(alloc))),
        "said": [plain(alloc[name]) for name in said],
        "task": [task.get("State"), task.get("Failed"), bool(task.get("StartedAt"))],
        "events": [_task_event(event) for event in task["Events"]],
    }


def _task_event(event: Any) -> list[Any]:
    details = {name: plain(text) for name, text in sorted((event["Details"] or {}).items())}
    details.pop("exit_message", None)
    return [event["Type"], plain(event["DisplayMessage"]), details]


def _evaluation(one: Any) -> dict[str, Any]:
    failed = (one.get("FailedTGAllocs") or {}).get("main", {})
    reasons = ("NodesAvailable", "ConstraintFiltered", "DimensionExhausted")
    return {
        "keys": sorted(set(keys(one))),
        "said": [one["TriggeredBy"], one["Status"], plain(one.get("StatusDescription", ""))],
        "queued": one.get("QueuedAllocations"),
        "failed": {name: failed.get(name) for name in reasons},
    }


def _order(lines: list[Any]) -> Iterator[list[str]]:
    """What happened, line by line; of what clients told, the end of each allocation alone."""
    told = [event for line in lines for event in line["Events"]]
    last = {e["Key"]: e["Index"] for e in told if e["Type"] == "AllocationUpdated"}
    for line in lines:
        shown = [
            _happened(event)
            for event in line["Events"]
            if event["Type"] != "AllocationUpdated" or last[event["Key"]] == event["Index"]
            if not _racing(event)
        ]
        if shown:
            yield shown


def _racing(event: Any) -> bool:
    return event["Payload"].get("Evaluation", {}).get("TriggeredBy") in RACING


def _happened(event: Any) -> str:
    (thing,) = (
        event["Payload"][name] for name in ("Allocation", "Evaluation") if name in event["Payload"]
    )
    if "TriggeredBy" in thing:
        return f"{event['Type']}: {thing['TriggeredBy']} {thing['Status']}"
    client = "" if event["Type"] == "PlanResult" else f" {thing['ClientStatus']}"
    return f"{event['Type']}: allocation {thing['DesiredStatus']}{client}"


def grows(made: Any) -> bool:
    """Whether the indexes of a recording's lines never fall."""
    return all(a["Index"] <= b["Index"] for a, b in pairwise(made["lines"]))
