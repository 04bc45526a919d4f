"""An agent of Nomad's for tests: its HTTP API on a port of this machine, and tasks that run here.

::

    with Agent() as agent:
        Client("nomad", settings={"address": agent.address})

What it answers is what an agent was recorded to answer, and is held against the recordings.
``NOMAD_ADDR`` set to its address leads other processes to it. Every task is a process of this
machine, whatever its task driver; it inherits `env` and nothing else of this process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.drivers.nomad.agent import routes
from tests.drivers.nomad.agent.acl import Policy, least
from tests.drivers.nomad.agent.answers import Answer, Request, found, refused
from tests.drivers.nomad.agent.cluster import Cluster, node
from tests.drivers.nomad.agent.server import Server
from tests.drivers.nomad.agent.state import State
from tests.drivers.nomad.agent.trouble import Trouble, Troubles

PARSED = Path(__file__).parents[1] / "recordings" / "answers" / "parsed.json"

__all__ = ["Agent", "Policy", "Trouble", "least", "node", "refused"]


class Agent:
    """One server with its clients. It begins at once, and ends with :meth:`close`.

    `policies`: what each token may do, None: everything; without, there is no access control.
    `buffer`: entries of the event stream that are kept. `pace`: seconds for which clients gather
    news. `images`: those that are there, for none can be pulled; None: any. `limit`: connections
    of one client at once. `port`: where it listens; 0: at a free one.
    """

    region = "global"
    version = "2.0.6"

    def __init__(
        self,
        nodes: Sequence[dict[str, Any]] | None = None,
        *,
        policies: Mapping[str, Policy | None] | None = None,
        buffer: int = 100,
        preemption: bool = False,
        pace: float = 0.02,
        env: Mapping[str, str] | None = None,
        images: frozenset[str] | None = None,
        limit: int = 100,
        port: int = 0,
    ) -> None:
        self.policies = policies
        self.requests: list[Request] = []
        self.troubles = Troubles()
        self.cluster = Cluster(
            nodes or [node("node-1")],
            buffer=buffer,
            preemption=preemption,
            pace=pace,
            env={"PATH": os.environ["PATH"], **(env or {})},
            images=images,
        )
        self._server = Server(self._answer, self.troubles, limit=limit, port=port)
        self.address = self._server.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every task and every connection."""
        self.cluster.close()
        self._server.close()

    @property
    def state(self) -> State:
        """What the cluster holds."""
        return self.cluster.state

    def spoil(self, method: str, path: str, **what: Any) -> Trouble:
        """Let something go wrong; :class:`Trouble` says what can."""
        trouble = Trouble(method, path, **what)
        self.troubles.add(trouble)
        return trouble

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests whose method and path begin so."""
        return [r for r in self.requests if r.method == method and r.path.startswith(path)]

    def break_off(self) -> None:
        """Break every connection."""
        self._server.drop()

    def regress(self) -> None:
        """Come back as from a snapshot: a lower index, no past, the same jobs."""
        self.state.regress()
        self.break_off()

    def silence(self) -> Iterator[bytes]:
        """Nothing, until the agent ends."""
        with self.state.changed:
            self.state.changed.wait_for(lambda: self.state.closed)
        yield from ()

    def parsed(self, hcl: str) -> Answer:
        """A job in HCL as JSON, of those that were recorded."""
        for told in json.loads(PARSED.read_text())["answers"]:
            if told.get("hcl") == hcl and told["status"] == 200:
                return found(told["body"])
            if told.get("hcl") == hcl:
                return refused(told["status"], told["body"])
        return refused(400, "Failed to parse job: it is none of those that were recorded")

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return routes.answer(self, request)
