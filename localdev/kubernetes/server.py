"""The API in front of a store and a node: what Armada's executor and its Binoculars ask for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from localdev.kubernetes.pods import Node
from localdev.kubernetes.store import Name, Object, Problem, Store, merge
from localdev.kubernetes.wire import decode

PATH = re.compile(
    r"/(?:api|apis/[\w.-]+)/[\w-]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<part>.+))?)?"
)
WATCH = 300.0
"""Seconds of a watch that names no time."""


class Asked(NamedTuple):
    """What a path and its query name."""

    name: Name
    part: str
    query: dict[str, str]

    def number(self, key: str) -> int | None:
        """The number given for that key."""
        return int(self.query[key]) if self.query.get(key) else None


def parse(target: str) -> Asked:
    """The object, or the kind of objects, that a request is about; Problem 404 if it is none."""
    url = urlsplit(target)
    found = PATH.fullmatch(url.path)
    if found is None:
        raise Problem(404, "NotFound", "the server could not find the requested resource")
    query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    name = Name(found["kind"], found["namespace"] or "", found["name"] or "")
    return Asked(name, found["part"] or "", query)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: there is a request for every event."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._create)

    def do_PATCH(self) -> None:
        self._answer(lambda asked: self.server.store.change(asked.name, self._patch()))

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Any) -> None:
        try:
            answer = act(parse(self.path))
        except Problem as problem:
            self._send(problem.code, "application/json", msgspec.json.encode(_status(problem)))
            return
        if answer is not None:
            self._send(200, "application/json", msgspec.json.encode(answer))

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self._headers_buffer.extend((b"\r\n", body))  # type: ignore[attr-defined]
        self.flush_headers()

    def _body(self) -> Object:
        if self.headers.get("Transfer-Encoding") == "chunked":  # as kubectl sends it
            return decode(b"".join(self._chunks()))
        length = int(self.headers.get("Content-Length") or 0)
        return decode(self.rfile.read(length))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    # -- verbs -------------------------------------------------------------------------------

    def _get(self, asked: Asked) -> Object | None:
        if asked.part == "log":
            self._send(200, "text/plain", self._log(asked))
            return None
        if asked.name.name:
            return self.server.store.get(asked.name)
        if asked.query.get("watch") in ("1", "true"):
            self._watch(asked)
            return None
        items, version = self.server.store.all_of(asked.name.kind, asked.name.namespace)
        return {"metadata": {"resourceVersion": str(version)}, "items": items}

    def _create(self, asked: Asked) -> Object:
        value = self._body()
        if not (value.get("kind") and value.get("apiVersion")):
            raise Problem(400, "BadRequest", "an object needs its kind and apiVersion")
        name = asked.name._replace(name=value["metadata"]["name"])
        if name.kind == "pods":
            return self.server.node.create(name, value)
        return self.server.store.create(name, value)

    def _patch(self) -> Any:
        patch = self._body()
        return lambda value: merge(value, patch)

    def _delete(self, asked: Asked) -> Object:
        options = self._body()
        current = self.server.store.get(asked.name)
        wanted = options.get("preconditions", {}).get("resourceVersion")
        if wanted not in (None, current["metadata"]["resourceVersion"]):
            raise Problem(409, "Conflict", "the object has been changed since it was read")
        if asked.name.kind == "pods":
            return self.server.node.delete(asked.name, options.get("gracePeriodSeconds"))
        return self.server.store.remove(asked.name)

    def _log(self, asked: Asked) -> bytes:
        return self.server.node.log(
            asked.name,
            since=asked.query.get("sinceTime", ""),
            limit=asked.number("limitBytes"),
            tail=asked.number("tailLines"),
        )

    # -- watching ----------------------------------------------------------------------------

    def _watch(self, asked: Asked) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._tell_changes(asked)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # whoever watched has gone

    def _tell_changes(self, asked: Asked) -> None:
        after = asked.number("resourceVersion") or 0
        end = time.monotonic() + (asked.number("timeoutSeconds") or WATCH)
        while (left := end - time.monotonic()) > 0 and not self.server.over:
            try:
                changes = self.server.store.changes(asked.name.kind, after, min(left, 1.0))
            except Problem as problem:
                self._chunk({"type": "ERROR", "object": _status(problem)})
                return
            for change in changes:
                after = change.version
                if asked.name.namespace in ("", change.object["metadata"].get("namespace")):
                    self._chunk({"type": change.type, "object": change.object})

    def _chunk(self, value: Object) -> None:
        line = msgspec.json.encode(value) + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def _status(problem: Problem) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": problem.message,
        "reason": problem.reason,
        "code": problem.code,
    }


class Server(ThreadingHTTPServer):
    """The API on a port of this machine's loopback; 0: any free one."""

    daemon_threads = True

    def __init__(self, port: int, store: Store, node: Node) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.store = store
        self.node = node
        self.over = False

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"
