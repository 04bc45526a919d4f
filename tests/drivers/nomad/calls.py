"""The answers that are recorded of Nomad: calls that are refused, and what is said then."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.drivers.nomad import likeness as alike
from tests.drivers.nomad.stage import Stage
from tests.drivers.nomad.worlds import World

NOBODY = "00000000-0000-0000-0000-000000000000"
LEAST = ("submit-job", "read-job", "list-jobs", "read-logs")

HCL = """
job "theirs" {
  type = "batch"
  meta { cost = "team-a" }
  group "theirs" {
    task "theirs" {
      driver = "raw_exec"
      env { SITE = "1" }
    }
  }
}
"""


@dataclass
class Asker:
    """Asks, and notes what is answered."""

    world: World
    token: str | None = None
    told: list[Any] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, *, data: str | None = None) -> Any:
        """What it is answered, noted."""
        headers = {} if self.token is None else {"X-Nomad-Token": self.token}
        answer = self.world.admin.session.request(
            method, f"{self.world.admin.url}/v1/{path}", json=body, data=data, headers=headers
        )
        json_ = answer.text[:1] in ("{", "[", '"')
        self.told.append(
            {
                "call": f"{method} /v1/{path}",
                **({"hcl": body["JobHCL"]} if "JobHCL" in (body or {}) else {}),
                "status": answer.status_code,
                "type": answer.headers.get("Content-Type"),
                "headers": sorted(name for name in answer.headers if name.startswith("X-Nomad")),
                "body": answer.json() if json_ else answer.text,
            }
        )
        return answer


Calls = Callable[[Asker], None]
CALLS: dict[str, Calls] = {}
ACL: set[str] = set()


def calls(function: Calls) -> Calls:
    """They are recorded under their name."""
    CALLS[function.__name__.replace("_", "-")] = function
    return function


def with_acl(function: Calls) -> Calls:
    """They are recorded of an agent with access control."""
    ACL.add(function.__name__.replace("_", "-"))
    return calls(function)


def job(asker: Asker, name: str, **fields: Any) -> Any:
    """What registers a job of that name, with other fields of the job."""
    made = Stage(asker.world, name).payload("true")
    made["Job"].update(fields)
    return made


# -- without access control --------------------------------------------------------------------


@calls
def create_only(asker: Asker) -> None:
    made = job(asker, "create-only")
    asker.ask("PUT", "jobs", made)
    asker.ask("PUT", "jobs", made)
    asker.ask("DELETE", "job/bb-rec-create-only")
    asker.ask("PUT", "jobs", made)
    asker.ask("PUT", "jobs", {**made, "JobModifyIndex": 1})
    asker.ask("DELETE", "job/bb-rec-create-only?purge=true")
    asker.ask("DELETE", "job/bb-rec-create-only?purge=true")


@calls
def refused_jobs(asker: Asker) -> None:
    task = {"Name": "main", "Driver": "raw_exec", "Config": {"command": "x"}}
    for fields in (
        {"ID": "a b"},
        {"TaskGroups": []},
        {"Namespace": "nope"},
        {"NodePool": "nope"},
        {"Region": "mars"},
        {"Priority": 300},
        {"Type": "nope"},
        {"Constraints": [{"LTarget": "a", "Operand": "nope", "RTarget": "b"}]},
        _group({**task, "Driver": ""}),
        _group({**task, "Resources": {"CPU": 100, "Cores": 1}}),
        _group({**task, "Resources": {"MemoryMB": 5}}),
        _group({**task, "LogConfig": {"MaxFiles": 100, "MaxFileSizeMB": 10}}),
    ):
        made = job(asker, "refused", **fields)
        asker.ask("PUT", "jobs", made)
        asker.ask("PUT", "validate/job", made)
    asker.ask("PUT", "jobs", {"Job": {"Type": "batch"}})
    asker.ask("PUT", "jobs", {"Nothing": 1})


def _group(task: Any) -> Any:
    return {"TaskGroups": [{"Name": "main", "Tasks": [task]}]}


@calls
def parsed(asker: Asker) -> None:
    asker.ask("POST", "jobs/parse", {"JobHCL": HCL, "Canonicalize": False})
    asker.ask("POST", "jobs/parse", {"JobHCL": 'job "x" {\n nonsense = 1\n}'})


@calls
def what_is_not_there(asker: Asker) -> None:
    for path in (
        "job/nope",
        "job/nope/allocations",
        "job/nope/evaluations",
        f"allocation/{NOBODY}",
        "allocation/nope",
        f"evaluation/{NOBODY}",
        "evaluation/nope",
        f"client/fs/logs/{NOBODY}?task=main&type=stdout",
        "client/fs/logs/nope?task=main&type=stdout",
        f"client/fs/logs/{NOBODY}?task=main",
        "jobs?namespace=nope",
        "allocations?namespace=nope",
        "jobs?region=mars",
        "jobs?prefix=nope",
        "nonsense",
    ):
        asker.ask("GET", path)
    asker.ask("DELETE", "job/nope")


@calls
def variables(asker: Asker) -> None:
    path, items = "var/nomad/jobs/bb-rec-variables", {"Items": {"a": "b"}}
    asker.ask("PUT", f"{path}?cas=0", items)
    asker.ask("PUT", f"{path}?cas=0", items)
    asker.ask("PUT", path, items)
    asker.ask("PUT", path, {"Items": {}})
    asker.ask("PUT", "var/bad%20path!", items)
    asker.ask("GET", path)
    asker.ask("GET", "vars?prefix=nomad/jobs/bb-rec-variables")
    asker.ask("DELETE", path)
    asker.ask("DELETE", path)
    asker.ask("GET", path)
    asker.ask("GET", "vars?prefix=nomad/jobs/bb-rec-variables")


@calls
def lists_and_logs(asker: Asker) -> None:
    stage = Stage(asker.world, "lists")
    asker.ask("PUT", "jobs", stage.payload("echo said; echo wrong >&2; sleep 1"))
    stage.running()
    (alloc,) = stage.allocs()
    stage.over()
    for path in (
        f"jobs?prefix={stage.job_id}",
        f"jobs?prefix={stage.job_id}&meta=true",
        f'jobs?filter=Meta.batchbridge_job_set=="recordings"&prefix={stage.job_id}',
        f"job/{stage.job_id}",
        f"job/{stage.job_id}/allocations",
        f"job/{stage.job_id}/evaluations",
        f'allocations?filter=JobID matches "^{stage.job_id}"&task_states=true',
        f'allocations?filter=JobID matches "^{stage.job_id}"&task_states=false',
        f"allocation/{alloc['ID']}",
        f"evaluation/{alloc['EvalID']}",
    ):
        asker.ask("GET", path)
    _logs(asker, alloc["ID"])
    asker.ask("DELETE", f"job/{stage.job_id}?purge=true")


def _logs(asker: Asker, alloc_id: str) -> None:
    for query in (
        "task=main&type=stdout&plain=true",
        "task=main&type=stderr&plain=false",
        "task=main&type=stdout&plain=false&origin=start&offset=2",
        "task=main&type=stdout&plain=false&origin=end&offset=1",
        "task=main&type=stdout&plain=false&origin=start&offset=50",
        "task=main&type=nonsense",
        "task=nonsense&type=stdout",
        "type=stdout",
    ):
        asker.ask("GET", f"client/fs/logs/{alloc_id}?{query}")


@calls
def streamed(asker: Asker) -> None:
    """The head and the first line of the stream, as they are on the wire."""
    asker.told.append(stream(asker.world, ""))


# -- with access control -----------------------------------------------------------------------


@with_acl
def without_rights(asker: Asker) -> None:
    """Each call, with a token that has a right to something else, and with none that exists."""
    stage = Stage(asker.world, "rights")
    stage.run("true")
    stage.over()
    (alloc,) = stage.allocs()
    made = job(asker, "without-rights")
    for token in (asker.world.token(("scale-job",)), NOBODY, ""):
        asker.token = token
        asker.ask("PUT", "jobs", made)
        asker.ask("PUT", "validate/job", made)
        asker.ask("POST", "jobs/parse", {"JobHCL": HCL})
        for path in (
            "jobs",
            f"job/{stage.job_id}",
            f"job/{stage.job_id}/allocations",
            f"job/{stage.job_id}/evaluations",
            "allocations",
            f"allocation/{alloc['ID']}",
            f"evaluation/{alloc['EvalID']}",
            f"client/fs/logs/{alloc['ID']}?task=main&type=stdout",
            "var/nomad/jobs/x",
            "nodes",
        ):
            asker.ask("GET", path)
        asker.ask("PUT", "var/nomad/jobs/x", {"Items": {"a": "b"}})
        asker.ask("DELETE", "var/nomad/jobs/x")
        asker.ask("DELETE", f"job/{stage.job_id}")
        asker.ask("PUT", f"allocation/{alloc['ID']}/stop", {})
    stage.ask("DELETE", f"job/{stage.job_id}?purge=true")


@with_acl
def with_the_least_rights(asker: Asker) -> None:
    asker.token = asker.world.token(LEAST, ("read", "write", "destroy"))
    made = job(asker, "least")
    asker.ask("PUT", "jobs", made)
    asker.ask("GET", "jobs?prefix=bb-rec-least")
    asker.ask("GET", "job/bb-rec-least")
    asker.ask("PUT", "var/nomad/jobs/bb-rec-least?cas=0", {"Items": {"a": "b"}})
    asker.ask("DELETE", "var/nomad/jobs/bb-rec-least")
    asker.ask("PUT", "var/elsewhere", {"Items": {"a": "b"}})
    asker.ask("GET", "nodes")
    asker.ask("DELETE", "job/bb-rec-least?purge=true")


@with_acl
def stream_denied(asker: Asker) -> None:
    """200, and silence."""
    asker.told.append(stream(asker.world, asker.world.token(("submit-job",))))


def stream(world: World, token: str) -> Any:
    """The head of the event stream, and what it says in a second."""
    place = urlsplit(world.admin.url)
    with socket.create_connection((place.hostname, place.port), timeout=1) as wire:
        host = f"Host: {place.netloc}\r\nX-Nomad-Token: {token}\r\n"
        wire.sendall(f"GET /v1/event/stream?topic=Job:nope HTTP/1.1\r\n{host}\r\n".encode())
        head, _, body = b"".join(_received(wire)).partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return {
        "call": "GET /v1/event/stream",
        "status": int(status.split()[1]),
        "type": None,
        "headers": sorted(name for name in headers if not name.startswith("Date")),
        "body": body.decode(),
    }


def _received(wire: socket.socket) -> Iterator[bytes]:
    try:
        while data := wire.recv(1 << 16):
            yield data
    except TimeoutError:
        return


# -- recording ---------------------------------------------------------------------------------


def recorded(world: World, name: str) -> Any:
    """The calls of that name, and what was answered."""
    asker = Asker(world)
    CALLS[name](asker)
    return {
        "engine": world.admin.ask("GET", "agent/self")["config"]["Version"]["Version"],
        "command": f"python -m tests.drivers.nomad.record --write answers/{name}",
        "answers": asker.told,
    }


def likeness(made: Any) -> list[Any]:
    """What must be alike of two recordings of answers."""
    return [
        {
            **{name: answer[name] for name in ("status", "type", "headers")},
            "call": alike.plain(answer["call"]),
            "body": _body(answer["body"]),
        }
        for answer in made["answers"]
    ]


def _body(body: Any) -> Any:
    """Texts as they are, and of objects the keys."""
    if isinstance(body, str):
        return alike.plain(body)
    if isinstance(body, dict) and "File" in body:
        return body
    many = f"{len(body)} objects" if isinstance(body, list) else "one object"
    return [many, *sorted(set(alike.keys(body)))]
