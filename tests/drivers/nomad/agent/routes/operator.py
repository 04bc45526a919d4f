"""The cluster: its stream of events, its nodes, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.drivers.nomad.agent import stream
from tests.drivers.nomad.agent.answers import Answer, Denied, Request, found, written
from tests.drivers.nomad.agent.routes.how import allow, index, missing, policy_of, route
from tests.drivers.nomad.agent.shapes import BLANK

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent


@route("GET", "event/stream")
def events(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    topics = request.query.get("topic", [])
    headers = {"Connection": "close", "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    try:
        allow(agent, request, "read-job")
    except Denied:  # Nomad says so to nobody: 200, and silence
        return Answer(200, agent.silence(), headers, endless=True)
    index = request.number("index")
    reader = stream.Reader(agent.state, request.namespace, topics, index)
    return Answer(200, reader.lines(), headers, endless=True)


@route("GET", "status/leader")
def leader(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    return found("127.0.0.1:4647")


@route("GET", "agent/self")
def about(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    version = {"Version": agent.version, "VersionPrerelease": "", "Revision": ""}
    config = {"Version": version, "Region": agent.region, "Datacenter": "dc1"}
    return found({"config": config, "member": {"Name": "server-1"}, "stats": {}})


@route("GET", "nodes")
def nodes(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_nodes(agent, request)
    with agent.state.changed:
        held = agent.state.nodes.values()
        stubs = [{name: one.get(name) for name in BLANK["node_stub"]} for one in held]
        return found(
            [{**stub, "Address": "127.0.0.1"} for stub in stubs], index(agent.state, "Node")
        )


@route("GET", "node/(?P<id>[^/]+)")
def node(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_nodes(agent, request)
    with agent.state.changed:
        held = agent.state.nodes.get(parts["id"])
        return found(held, held["ModifyIndex"]) if held else missing("node not found", agent.state)


def _allow_nodes(agent: Agent, request: Request) -> None:
    policy = policy_of(agent, request)
    if policy is not None and not policy.node:
        raise Denied(403, "Permission denied")


@route("PUT POST", "node/(?P<id>[^/]+)/drain")
def drain(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    name = agent.state.nodes[parts["id"]]["Name"]
    if request.json()["DrainSpec"]:
        agent.cluster.drain(name)
    else:
        agent.cluster.welcome(name)
    return written({"NodeModifyIndex": agent.state.index}, agent.state.index)


@route("PUT POST", "system/gc")
def collect(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    agent.cluster.collect()
    return Answer(200)


@route("GET", "operator/scheduler/configuration")
def configuration(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    batch = agent.cluster.scheduler.preemption
    return found({"SchedulerConfig": {"PreemptionConfig": {"BatchSchedulerEnabled": batch}}})


@route("PUT POST", "operator/scheduler/configuration")
def configure(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    batch = request.json()["PreemptionConfig"]["BatchSchedulerEnabled"]
    agent.cluster.scheduler.preemption = batch
    return found({"Updated": True, "Index": agent.state.index})
