"""The agent that the benchmarks of Nomad run on, and what they ask of it in plain HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import NomadDriver
from benchmarks.cores import listening, rest
from benchmarks.harness import NotRun

VARIABLE = "BATCHBRIDGE_NOMAD"
"""The environment variable that names the agent."""

THREADS = 16
"""As many as the driver uses to submit."""

RUNS: Mapping[str, Any] = {"driver": "raw_exec"}
"""Options of a job that runs."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent, and the session with which this process asks it."""

    address: str
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def host(self) -> str:
        """Its name and port."""
        return self.address.removeprefix("http://")

    def processes(self) -> list[int]:
        """The ids of its processes, where it runs on this machine."""
        return listening(int(self.host.rpartition(":")[2]))

    def get(self, path: str) -> Any:
        """The answer to a GET below ``/v1``."""
        return self._ask("GET", path).json()

    def register(self, payloads: Sequence[dict[str, Any]]) -> list[str]:
        """Register these jobs; their ids."""
        self._many(lambda payload: self._ask("PUT", "jobs", json=payload), payloads)
        return [payload["Job"]["ID"] for payload in payloads]

    @contextmanager
    def new_keys(self) -> Iterator[str]:
        """How the keys of some jobs are to begin; those jobs are purged at the end."""
        beginning = f"bench-{time.time_ns():x}-"
        try:
            yield beginning
        finally:
            ids = [job["ID"] for job in self.get(f"jobs?prefix=bb-{beginning}")]
            self._many(lambda job: self._ask("DELETE", f"job/{job}?purge=true"), ids)
            rest(self.processes())

    @contextmanager
    def placing_nothing(self) -> Iterator[None]:
        """The agent notes what is to be placed, and does not look at it until the end.

        The submit is then all there is. (A job that waits in vain for a place would not do: of each
        an agent tells its metrics every second, long after it is purged.)
        """
        path = "operator/scheduler/configuration"
        before = self.get(path)["SchedulerConfig"]
        self._ask("PUT", path, json={**before, "PauseEvalBroker": True})
        try:
            yield
        finally:
            self._ask("PUT", path, json=before)
            rest(self.processes())

    def _many(self, ask: Callable[[Any], object], items: Sequence[Any]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, items))

    def _ask(self, method: str, path: str, **body: Any) -> requests.Response:
        answer = self.session.request(method, f"{self.address}/v1/{path}", timeout=60, **body)
        answer.raise_for_status()
        return answer


def agent() -> Agent:
    """The agent that the environment names; NotRun where there is none that runs commands."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith("http://"):
        raise NotRun(f"{VARIABLE} names no agent with raw_exec, e.g. http://127.0.0.1:4646")
    found = Agent(address.rstrip("/"))
    found.session.trust_env = False
    try:
        nodes = found.get("nodes")
    except requests.RequestException as problem:
        raise NotRun(f"{address} cannot be asked: {problem}") from None
    ready = [node for node in nodes if node["Status"] == "ready"]
    if not any(node["Drivers"].get("raw_exec", {}).get("Healthy") for node in ready):
        raise NotRun(f"no node of {address} is ready and has raw_exec")
    return found


def payloads(beginning: str, amount: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON with which batchbridge registers as many jobs, whose keys begin so."""
    spec = JobSpec(command=("true",), options=options)
    driver = NomadDriver(NomadDriver.Settings())
    submissions = [Submission(f"{beginning}{n}", spec, "bench", "bench") for n in range(amount)]
    return [dict(driver.render(submission)) for submission in submissions]
