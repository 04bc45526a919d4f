"""Variables: written if they are as the writer thinks, and read by who may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.drivers.nomad.agent.answers import Answer, Denied, Request, found, written
from tests.drivers.nomad.agent.routes.how import index, missing, policy_of, route, there
from tests.drivers.nomad.agent.shapes import Object

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent


@route("GET", "vars")
def variables(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    state, policy, prefix = agent.state, policy_of(agent, request), request.get("prefix")
    with state.changed:
        held = [v for v in there(state.variables.values(), request) if v["Path"].startswith(prefix)]
        namespace = request.namespace
        shown = [
            v for v in held if not policy or policy.allows_variable("list", namespace, v["Path"])
        ]
        stubs = [{name: v[name] for name in v if name != "Items"} for v in shown]
        return found(stubs, index(state, "Variable"))


@route("GET", "var/(?P<path>.+)")
def variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_variable(agent, request, "read", parts["path"])
    held = agent.state.variables.get((request.namespace, parts["path"]))
    return found(held, held["ModifyIndex"]) if held else missing("variable not found", agent.state)


@route("PUT POST", "var/(?P<path>.+)")
def write_variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    path, said = parts["path"], request.json()
    if not said.get("Items"):
        raise Denied(400, "variable missing required Items object")
    if not re.fullmatch(r"[a-zA-Z0-9-_~/]{1,128}", path):
        words = f'RPC Error:: 400,invalid path "{path}"'
        raise Denied(400, words, index=agent.state.index)
    _allow_variable(agent, request, "write", path)
    with agent.state.changed:
        held = agent.state.variables.get((request.namespace, path))
        if not _may_replace(request, held):
            return replace(written(held, agent.state.index, 409), kind=None)
        made = agent.cluster.write_variable(request.namespace, path, said["Items"])
        return written(made, made["ModifyIndex"])


@route("DELETE", "var/(?P<path>.+)")
def delete_variable(agent: Agent, request: Request, parts: Mapping[str, str]) -> Answer:
    _allow_variable(agent, request, "destroy", parts["path"])
    index = agent.state.write((request.namespace, parts["path"]), None)
    return Answer(204, headers={"X-Nomad-Index": str(index)}, kind=None)


def _may_replace(request: Request, held: Object | None) -> bool:
    """Whether what is held is what the writer thinks."""
    return "cas" not in request.query or request.number("cas") == (held or {}).get("ModifyIndex", 0)


def _allow_variable(agent: Agent, request: Request, capability: str, path: str) -> None:
    policy = policy_of(agent, request)
    if policy is not None and not policy.allows_variable(capability, request.namespace, path):
        changes = capability != "read"
        raise Denied(403, "Permission denied", index=agent.state.index if changes else None)
