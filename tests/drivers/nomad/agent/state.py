"""What a cluster holds: its objects, the index of their last change, and the events of late."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tests.drivers.nomad.agent.shapes import TIMED_OUT, Object, live

Key: TypeAlias = tuple[str, str]
"""The namespace and the id of a job, or the path of a variable."""

Change: TypeAlias = tuple[str, Object]
"""A topic of the event stream, and an object of that topic that was changed."""


DELETED = "Deleted"
"""The topic of a change that is a job's end: it was purged, or collected."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object, as the stream tells it."""

    topic: str
    keys: tuple[str, ...]
    namespace: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One index: its lines of the event stream, each of some events."""

    index: int
    lines: tuple[tuple[Event, ...], ...]


class State:
    """The objects of one cluster. `changed` guards them, and is notified of every change."""

    def __init__(self, buffer: int) -> None:
        self.changed = threading.Condition()
        self.index = 10
        self.jobs: dict[Key, Object] = {}
        self.allocs: dict[str, Object] = {}
        self.versions: dict[str, int] = {}
        self.evaluations: dict[str, Object] = {}
        self.nodes: dict[str, Object] = {}
        self.variables: dict[Key, Object] = {}
        self.entries: deque[Entry] = deque(maxlen=buffer)
        self.touched: dict[str, int] = {}
        self.closed = False

    def apply(self, kind: str, *lines: list[Change]) -> int:
        """Note the changes of one index, told as `kind`, with what follows for their jobs."""
        with self.changed:
            self.index += 1
            for topic, thing in (change for line in lines for change in line):
                self._keep(topic, thing)
            told = [*lines[:-1], [*lines[-1], *self._followed(lines)]] if lines else []
            events = tuple(tuple(self._event(kind, *change) for change in line) for line in told)
            self.entries.append(Entry(self.index, events))
            self.changed.notify_all()
            return self.index

    def _keep(self, topic: str, thing: Object) -> None:
        thing.setdefault("CreateIndex", self.index)
        thing["ModifyIndex"] = self.index
        if topic == "Allocation":
            thing.setdefault("AllocModifyIndex", self.index)
        self.touched[topic] = self.index
        if topic == DELETED:
            self._forget(thing)
        elif topic == "Job":
            self.jobs[thing["Namespace"], thing["ID"]] = thing
        else:
            self._table(topic)[thing["ID"]] = thing

    def _table(self, topic: str) -> dict[str, Object]:
        tables = {"Allocation": self.allocs, "Evaluation": self.evaluations, "Node": self.nodes}
        return tables[topic]

    def _followed(self, lines: tuple[list[Change], ...]) -> Iterator[Change]:
        """The jobs whose status the changes have changed."""
        changes = [change for line in lines for change in line]
        told = [thing["ID"] for topic, thing in changes if topic in ("Job", DELETED)]
        named = {(t["Namespace"], t["JobID"]): None for _, t in changes if "JobID" in t}
        for job in (self.jobs[key] for key in named if key in self.jobs):
            status = self._status(job)
            if job["ID"] not in told and job["Status"] != status:
                job["Status"] = status
                self._keep("Job", job)
                yield "Job", job

    def _status(self, job: Object) -> str:
        if any(live(alloc) for alloc in self.allocs_of(job)):
            return "running"
        open_ = ("pending", "blocked")
        waits = any(one["Status"] in open_ for one in self.evaluations_of(job))
        return "pending" if waits else "dead"

    def _event(self, kind: str, topic: str, thing: Object) -> Event:
        keys = [thing["JobID"], ""] if "JobID" in thing else None
        payload = _payload(topic, thing)
        topic = "Job" if topic == DELETED else topic
        whole = {
            "FilterKeys": keys,
            "Index": self.index,
            "Key": thing["ID"],
            "Namespace": thing.get("Namespace", ""),
            "Payload": payload,
            "Topic": topic,
            "Type": kind,
        }
        text = json.dumps(whole, separators=(",", ":"))
        return Event(topic, (thing["ID"], *(keys or ())), whole["Namespace"], text)

    # -- reading; the caller holds `changed` -------------------------------------------------

    def allocs_of(self, job: Object) -> list[Object]:
        """The allocations of a job, in the order of creation."""
        return self._of(self.allocs, job)

    def evaluations_of(self, job: Object) -> list[Object]:
        """The evaluations of a job, in the order of creation."""
        return self._of(self.evaluations, job)

    def _of(self, table: dict[str, Object], job: Object) -> list[Object]:
        key = (job["Namespace"], job["ID"])
        return [one for one in table.values() if (one["Namespace"], one["JobID"]) == key]

    def wait(self, table: str, index: int, seconds: float) -> None:
        """Wait until something of that table has a higher index, at most so long."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.closed or self.touched.get(table, 1) > index, seconds
            )

    # -- what is no topic of the driver's ----------------------------------------------------

    def write(self, key: Key, variable: Object | None) -> int:
        """Write or delete a variable."""
        with self.changed:
            self.touched["Variable"] = index = self.apply("VariableUpserted")
            self.variables.pop(key, None)
            if variable is not None:
                self.variables[key] = variable
            self.changed.notify_all()
            return index

    def _forget(self, job: Object) -> None:
        """Hold a job and its allocations no more; of these no event tells."""
        self.jobs.pop((job["Namespace"], job["ID"]), None)
        for alloc in self.allocs_of(job):
            del self.allocs[alloc["ID"]]
        self.touched |= dict.fromkeys(("Job", "Allocation"), self.index)

    def regress(self) -> None:
        """Number everything anew, from one; forget the events of late."""
        with self.changed:
            for table in (self.jobs, self.evaluations, self.allocs):
                things = sorted(table.values(), key=lambda thing: thing["CreateIndex"])
                for number, thing in enumerate(things, 1):
                    thing |= {"CreateIndex": number, "ModifyIndex": number}
            self.index = max(map(len, (self.jobs, self.evaluations, self.allocs)))
            self.touched = dict.fromkeys(self.touched, self.index)
            self.entries.clear()

    def close(self) -> None:
        """Let everybody who waits go."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def _payload(topic: str, thing: Object) -> Object:
    """What an event carries: the object, and sometimes a word about it."""
    if topic == DELETED:
        return {"Deleted": True, "Job": thing}
    if thing.get("ClientDescription") == TIMED_OUT:
        return {topic: thing, "Timeout": True, "TimeoutReason": TIMED_OUT}
    return {topic: thing}
