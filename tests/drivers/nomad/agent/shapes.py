"""The objects of Nomad's API, as an agent was seen to write them. Pure.

``blank.json`` has of each object what an agent sends where nothing was said; its keys are held
against the recordings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

Object = dict[str, Any]

BLANK: Mapping[str, Any] = json.loads(Path(__file__).with_name("blank.json").read_text())

TERMINAL = ("complete", "failed", "lost")

TIMED_OUT = "allocation exceeded max_run_duration"


def blank(kind: str, **fields: Any) -> Object:
    """A new object of that kind, with these fields."""
    return {**deepcopy(BLANK[kind]), **fields}


def filled(below: Any, said: Any) -> Any:
    """What was said, and where nothing was said, or null, what Nomad fills in."""
    if not (isinstance(below, dict) and isinstance(said, dict) and below):
        return deepcopy(below) if said is None else said
    return {**deepcopy(below), **{name: filled(below.get(name), said[name]) for name in said}}


# -- jobs ------------------------------------------------------------------------------------


def canonical(job: Object) -> Object:
    """A job as Nomad keeps it."""
    whole = filled(BLANK["job"], job)
    whole["Name"] = whole["Name"] or whole["ID"]
    whole["Datacenters"] = whole["Datacenters"] or ["*"]
    whole["TaskGroups"] = [_group(group) for group in job.get("TaskGroups") or []]
    return whole


def _group(said: Object) -> Object:
    group = filled(BLANK["group"], said)
    if group["Disconnect"]:
        group["Disconnect"] = filled(BLANK["disconnect"], group["Disconnect"])
    group["Tasks"] = [_task(task, group) for task in said.get("Tasks") or []]
    signals = sorted({task["KillSignal"] for task in group["Tasks"]} - {""})
    needed = [
        {"LTarget": "${attr.os.signals}", "Operand": "set_contains", "RTarget": name}
        for name in signals
    ]
    group["Constraints"] = [*(group["Constraints"] or []), *needed] or None
    return group


def _task(said: Object, group: Object) -> Object:
    task = filled(BLANK["task"], said)
    task["RestartPolicy"] = filled(group["RestartPolicy"], said.get("RestartPolicy"))
    for name in ("Env", "Meta"):
        task[name] = task[name] or None
    templates = [filled(BLANK["template"], one) for one in said.get("Templates") or []]
    task["Templates"] = templates or None
    return task


def job_stub(job: Object, allocs: list[Object], queued: int, *, meta: bool) -> Object:
    """A job as the list of jobs tells it."""
    stub = {name: job.get(name) for name in BLANK["job_stub"]}
    if not meta:
        del stub["Meta"]
    stub |= {"ParameterizedJob": False, "Periodic": False}
    return {**stub, "JobSummary": _summary(job, allocs, queued)}


def _summary(job: Object, allocs: list[Object], queued: int) -> Object:
    summary = deepcopy(BLANK["job_stub"]["JobSummary"])
    counts = dict.fromkeys(summary["Summary"]["main"], 0) | {"Queued": queued}
    for alloc in allocs:
        status = alloc["ClientStatus"]
        counts["Starting" if status == "pending" else status.capitalize()] += 1
    indexes = {"CreateIndex": job["CreateIndex"], "ModifyIndex": job["ModifyIndex"]}
    names = {"JobID": job["ID"], "Namespace": job["Namespace"]}
    return {**summary, **indexes, **names, "Summary": {job["TaskGroups"][0]["Name"]: counts}}


# -- evaluations -----------------------------------------------------------------------------


def evaluation(job: Object, cause: str, **fields: Any) -> Object:
    """A new look of the scheduler at a job."""
    now = time.time_ns()
    return {
        "CreateTime": now,
        "ID": str(uuid4()),
        "JobID": job["ID"],
        "ModifyTime": now,
        "Namespace": job["Namespace"],
        "Priority": job["Priority"],
        "Status": "pending",
        "TriggeredBy": cause,
        "Type": job["Type"],
        **fields,
    }


def annotations(group: str, **updates: int) -> Object:
    """What a plan meant to change."""
    return {"DesiredTGUpdates": {group: blank("updates", **updates)}, "PreemptedAllocs": None}


# -- allocations -----------------------------------------------------------------------------


def allocation(job: Object, evaluation_id: str, node: Object, metrics: Object) -> Object:
    """A new place of a job's group on a node."""
    (group,), now = job["TaskGroups"], time.time_ns()
    return {
        "ClientStatus": "pending",
        "CreateTime": now,
        "DesiredStatus": "run",
        "EvalID": evaluation_id,
        "ID": str(uuid4()),
        "JobID": job["ID"],
        "Metrics": metrics,
        "ModifyTime": now,
        "Name": f"{job['ID']}.{group['Name']}[0]",
        "Namespace": job["Namespace"],
        "NodeID": node["ID"],
        "NodeName": node["Name"],
        "TaskGroup": group["Name"],
        **_given(group),
    }


def _given(group: Object) -> Object:
    """What an allocation of that group is given, in each of the ways in which Nomad says so."""
    (task,), disk = group["Tasks"], group["EphemeralDisk"]["SizeMB"]
    resources = filled(BLANK["task_resources"], task["Resources"])
    made = blank("alloc")
    del made["NetworkStatus"]  # its client's to tell
    memory = {name: resources[name] for name in ("MemoryMB", "MemoryMaxMB")}
    shares = {"CpuShares": resources["CPU"], "ReservedCores": None}
    given = {"Cpu": shares, "Devices": None, "Memory": memory, "Networks": None}
    made["AllocatedResources"] |= {"Tasks": {task["Name"]: given}}
    made["AllocatedResources"]["TaskLifecycles"] = {task["Name"]: None}
    made["AllocatedResources"]["Shared"]["DiskMB"] = made["SharedResources"]["DiskMB"] = disk
    made["Resources"] |= {**resources, "DiskMB": disk, "MemoryMaxMB": resources["MemoryMB"]}
    return {**made, "TaskResources": {task["Name"]: resources}}


def alloc_stub(alloc: Object, version: int, *, task_states: bool = True) -> Object:
    """An allocation as lists tell it: with null and empty for what is not there."""
    stub = filled(BLANK["alloc_stub"], {n: alloc[n] for n in BLANK["alloc_stub"] if n in alloc})
    stub |= {"JobType": "batch", "JobVersion": version}
    return stub if task_states else {**stub, "TaskStates": None}


def placed(alloc: Object) -> bool:
    """Whether it holds its node's resources."""
    return alloc["ClientStatus"] not in TERMINAL


def live(alloc: Object) -> bool:
    """Whether it is meant to run, and may."""
    return alloc["DesiredStatus"] == "run" and placed(alloc)


def seen(status: str) -> Object:
    """That an allocation's client was seen to be at that, or not to be seen."""
    return {"Field": 0, "Time": date(), "Value": status}


# -- what a client tells of a task -----------------------------------------------------------


def event(kind: str, message: str = "", *, details: Object | None = None, **fields: Any) -> Object:
    """One thing that a client did with a task."""
    return blank(
        "event",
        Type=kind,
        DisplayMessage=message,
        Details=details or {},
        Time=time.time_ns(),
        **fields,
    )


def date() -> str:
    """Now, as Nomad writes a time of the day."""
    now = time.time_ns()
    second = datetime.fromtimestamp(now // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{now % 10**9:09}Z"


def duration(nanoseconds: int) -> str:
    """A duration as Go writes it, to the millisecond."""
    milliseconds = nanoseconds // 10**6
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
