"""How a call is found and allowed, and what lists have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tests.drivers.nomad.agent.acl import Policy
from tests.drivers.nomad.agent.answers import Answer, Denied, Request, found, part, refused
from tests.drivers.nomad.agent.cluster import Refused
from tests.drivers.nomad.agent.filters import Malformed
from tests.drivers.nomad.agent.shapes import Object
from tests.drivers.nomad.agent.state import State

if TYPE_CHECKING:
    from tests.drivers.nomad.agent import Agent

Handler = Callable[["Agent", Request, Mapping[str, str]], Answer]
H = TypeVar("H", bound=Handler)

_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
UUID = re.compile(r"[0-9a-f-]{36}")


def route(methods: str, pattern: str) -> Callable[[H], H]:
    """Answer these methods at the paths that match."""

    def note(handler: H) -> H:
        _ROUTES.extend((one, re.compile(f"/v1/{pattern}"), handler) for one in methods.split())
        return handler

    return note


def answer(agent: Agent, request: Request) -> Answer:
    """What the agent says to a request."""
    here = [entry for entry in _ROUTES if entry[1].fullmatch(request.path)]
    for method, pattern, handler in here:
        matched = pattern.fullmatch(request.path)
        if method == request.method and matched:
            parts = {name: part(text or "") for name, text in matched.groupdict().items()}
            try:
                return _checked(agent, request, handler, parts)
            except Denied as error:
                return refused(error.status, str(error), error.index)
            except (Refused, Malformed) as error:
                return refused(500 if isinstance(error, Refused) else 400, str(error))
    return refused(405, "Invalid method") if here else Answer(404, kind=None)


def _checked(agent: Agent, request: Request, handler: Handler, parts: Mapping[str, str]) -> Answer:
    if request.get("region") not in ("", agent.region):
        raise Denied(500, "No path to region")
    if agent.policies is not None and request.token and request.token not in agent.policies:
        raise _unknown_token(agent, request)
    return handler(agent, request, parts)


def _unknown_token(agent: Agent, request: Request) -> Denied:
    """What somebody is told whom nobody knows; what was forwarded by another agent says so."""
    if request.path.startswith("/v1/client/"):
        return Denied(500, "rpc error: Permission denied")
    changes = request.method != "GET" and request.path.startswith("/v1/var/")
    return Denied(403, "Permission denied", index=agent.state.index if changes else None)


def allow(agent: Agent, request: Request, capability: str, namespace: str = "") -> None:
    """Denied, unless the token may do that, in that namespace or in the one that is asked for."""
    if not allowed(agent, request, capability, namespace):
        raise Denied(403, "Permission denied")


def allowed(agent: Agent, request: Request, capability: str, namespace: str = "") -> bool:
    """Whether the token may do that."""
    policy = policy_of(agent, request)
    return policy is None or policy.allows(capability, namespace or request.namespace)


def policy_of(agent: Agent, request: Request) -> Policy | None:
    """What the asker may do; None: everything."""
    return None if agent.policies is None else agent.policies.get(request.token, Policy())


def current(agent: Agent, request: Request, table: str) -> State:
    """The state: of a blocking query, once it has changed or the time is up."""
    if request.number("index"):
        agent.state.wait(table, request.number("index"), request.seconds)
    return agent.state


def there(held: Iterable[Object], request: Request) -> Iterator[Object]:
    """The objects of the namespace that is meant."""
    return (one for one in list(held) if request.namespace in (one["Namespace"], "*"))


def index(state: State, table: str) -> int:
    """The index of a table's last change."""
    return state.touched.get(table, 1)


def missing(words: str, state: State) -> Answer:
    """What is asked for is not there."""
    answer = found("", state.index)
    return Answer(404, words.encode(), answer.headers, kind="text/plain; charset=utf-8")


def page(stubs: list[Any], request: Request, index: int) -> Answer:
    """All, or as many as are asked for at once."""
    size, begin = request.number("per_page"), request.get("next_token")
    stubs = [stub for stub in sorted(stubs, key=lambda one: one["ID"]) if stub["ID"] >= begin]
    if not size or len(stubs) <= size:
        return found(stubs, index)
    return found(stubs[:size], index, **{"X-Nomad-NextToken": stubs[size]["ID"]})


def demand_uuid(text: str, before: str, kind: str = "alloc") -> None:
    """Denied, unless the text may be an id."""
    if not UUID.fullmatch(text):
        words = f"{before}{kind} lookup failed: index error: UUID must be 36 characters"
        raise Denied(500, words)
