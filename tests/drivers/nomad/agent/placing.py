"""Where a group of tasks fits, and why it fits nowhere: what a scheduler's look comes to. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.drivers.nomad.agent.shapes import Object, blank, placed

PREEMPTION_GAP = 10
"""How much lower the priority of a job must be that makes room for another."""

OPERANDS: Mapping[str, Callable[[str | None, str], bool]] = {
    "=": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
    "is_set": lambda have, want: have is not None,
    "set_contains": lambda have, want: (
        have is not None and set(want.split(",")) <= set(have.split(","))
    ),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, with the allocations that make room there; or none, and why."""

    metrics: Object
    node: Object | None = None
    victims: tuple[Object, ...] = ()


@dataclass(slots=True)
class Look:
    """One look at all nodes for a place."""

    job: Object
    nodes: Sequence[Object]
    allocs: Sequence[Object]
    priorities: Mapping[str, int]
    preemption: bool
    filtered: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)  #: of the nodes that were filtered
    exhausted: Counter[str] = field(default_factory=Counter)
    full: Counter[str] = field(default_factory=Counter)  #: their classes

    def choose(self) -> Choice:
        """The first node that fits, else the first that can be made to fit."""
        here = [node for node in self.nodes if self._in_reach(node)]
        fits = [node for node in here if self._suits(node)]
        for victims_of in (self._none, self._victims) if self.preemption else (self._none,):
            for node in fits:
                victims = victims_of(node)
                if self._room(node, victims):
                    return Choice(self._metrics(here), node, victims)
        for node in fits:
            self.exhausted[self._lacks(node, ())] += 1
            self.full.update(_class(node))
        if self.preemption and self.filtered:  # the second look knows that the first was in vain
            self.filtered = Counter({"computed class ineligible": self.filtered.total()})
        return Choice(self._metrics(here))

    def _in_reach(self, node: Object) -> bool:
        pool = self.job["NodePool"] in ("all", node["NodePool"])
        center = any(fnmatchcase(node["Datacenter"], one) for one in self.job["Datacenters"])
        ready = node["Status"] == "ready" and node["SchedulingEligibility"] == "eligible"
        return pool and center and ready

    def _suits(self, node: Object) -> bool:
        reason = next(self._misfits(node), None)
        if reason:
            self.filtered[reason] += 1
            self.classes.update(_class(node))
        return reason is None

    def _misfits(self, node: Object) -> Iterator[str]:
        (group,) = self.job["TaskGroups"]
        (task,) = group["Tasks"]
        if task["Driver"] not in node["Drivers"]:
            yield "missing drivers"
        for asked in self._constraints(group, task):
            if not holds(asked, node):
                yield f"{asked['LTarget']} {asked['Operand']} {asked['RTarget']}"
        wanted = [
            one["Source"] for one in (group["Volumes"] or {}).values() if one["Type"] == "host"
        ]
        if not set(wanted) <= set(node["HostVolumes"]):
            yield "missing compatible host volumes"
        if task["Resources"]["Devices"]:
            yield "missing devices"

    def _constraints(self, group: Object, task: Object) -> list[Object]:
        return [
            *(self.job["Constraints"] or []),
            *(group["Constraints"] or []),
            *(task["Constraints"] or []),
        ]

    def _none(self, node: Object) -> tuple[Object, ...]:
        return ()

    def _victims(self, node: Object) -> tuple[Object, ...]:
        """Those of the lowest priority, as many as are needed."""
        limit = self.job["Priority"] - PREEMPTION_GAP
        lower = [a for a in self._on(node) if self.priorities[a["ID"]] <= limit]
        victims: tuple[Object, ...] = ()
        for alloc in sorted(lower, key=lambda a: self.priorities[a["ID"]]):
            if not self._room(node, victims):
                victims = (*victims, alloc)
        return victims

    def _on(self, node: Object) -> list[Object]:
        return [a for a in self.allocs if a["NodeID"] == node["ID"] and placed(a)]

    def _room(self, node: Object, victims: Sequence[Object]) -> bool:
        return not self._lacks(node, victims)

    def _lacks(self, node: Object, victims: Sequence[Object]) -> str:
        """The first thing of which the node has not enough."""
        gone = {victim["ID"] for victim in victims}
        stay = [a["Resources"] for a in self._on(node) if a["ID"] not in gone]
        (group,) = self.job["TaskGroups"]
        resources, disk = group["Tasks"][0]["Resources"], group["EphemeralDisk"]["SizeMB"]
        asked = {**resources, "DiskMB": disk}
        has = capacity(node)
        return next(
            (
                name
                for name, key in DIMENSIONS.items()
                if asked[key] and sum(one[key] for one in stay) + asked[key] > has[key]
            ),
            "",
        )

    def _metrics(self, here: Sequence[Object]) -> Object:
        centers = Counter(node["Datacenter"] for node in here)
        return blank(
            "metrics",
            ClassExhausted=dict(self.full) or None,
            ClassFiltered=dict(self.classes) or None,
            ConstraintFiltered=dict(self.filtered) or None,
            DimensionExhausted=dict(self.exhausted) or None,
            NodePool=self.job["NodePool"],
            NodesAvailable=dict(centers),
            NodesEvaluated=len(here),
            NodesExhausted=sum(self.exhausted.values()),
            NodesFiltered=sum(self.filtered.values()),
            NodesInPool=len(here),
        )


def _class(node: Object) -> list[str]:
    return [node["NodeClass"]] if node["NodeClass"] else []


DIMENSIONS = {"memory": "MemoryMB", "cpu": "CPU", "cores": "Cores", "disk": "DiskMB"}
"""What Nomad calls a resource that is exhausted, and its field."""


def capacity(node: Object) -> Mapping[str, int]:
    """What a node has of each resource."""
    has = node["NodeResources"]
    return {
        "MemoryMB": has["Memory"]["MemoryMB"],
        "CPU": has["Cpu"]["CpuShares"],
        "Cores": has["Cpu"]["TotalCpuCores"],
        "DiskMB": has["Disk"]["DiskMB"],
    }


def holds(constraint: Object, node: Object) -> bool:
    """Whether a constraint holds on a node. An operand that is not known here is a KeyError."""
    return OPERANDS[constraint["Operand"]](
        target(constraint["LTarget"], node), constraint["RTarget"]
    )


def target(text: str, node: Object) -> str | None:
    """What ``${attr.…}``, ``${meta.…}`` or ``${node.…}`` is on that node."""
    name = text.removeprefix("${").removesuffix("}")
    kind, _, rest = name.partition(".")
    fields: Mapping[str, Any] = {
        "unique.id": node["ID"],
        "unique.name": node["Name"],
        "datacenter": node["Datacenter"],
        "class": node["NodeClass"],
        "pool": node["NodePool"],
    }
    tables = {"attr": node["Attributes"], "meta": node["Meta"], "node": fields}
    found = tables.get(kind, {}).get(rest)
    return None if found is None else str(found)
