"""The agent's HTTP: connections, each in a thread of its own."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.drivers.nomad.agent.answers import Answer, Request
from tests.drivers.nomad.agent.trouble import Trouble, Troubles

_WORDS = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_WORDS), _WORDS)
)
"""What a connection too many is told, before it has asked anything."""


class Server(ThreadingHTTPServer):
    """Listens on a port of this machine. `limit`: connections at once, of one client."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, answer: Callable[[Request], Answer], troubles: Troubles, *, limit: int, port: int
    ) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.answer, self.troubles, self.limit = answer, troubles, limit
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        self._gone = threading.Condition(self.lock)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def enter(self, connection: socket.socket) -> bool:
        """A connection is made; whether there may be one more."""
        with self.lock:
            self.open.add(connection)
            return len(self.open) <= self.limit

    def leave(self, connection: socket.socket) -> None:
        """A connection is over."""
        with self._gone:
            self.open.discard(connection)
            self._gone.notify_all()

    def drop(self) -> None:
        """Break every connection."""
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Listen no more, and wait until every connection is over."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.drop()
        with self._gone:
            self._gone.wait_for(lambda: not self.open, 10)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is, and is printed."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def setup(self) -> None:
        super().setup()
        self._welcome = self.server.enter(self.connection)

    def handle(self) -> None:
        if self._welcome:
            super().handle()
        else:
            self.wfile.write(TOO_MANY)

    def finish(self) -> None:
        self.server.leave(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def _do(self) -> None:
        request = self._read()
        trouble = self.server.troubles.strike(request.method, request.path)
        if trouble is not None and trouble.answer is not None:
            answer = trouble.answer
        else:
            answer = self.server.answer(request)
        if trouble is not None and trouble.reset:
            self._reset()
        else:
            self._send(answer, trouble)

    do_GET = do_PUT = do_POST = do_DELETE = _do

    def _read(self) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Nomad-Token", "")
        return Request(self.command, self.path, body, token)

    def _reset(self) -> None:
        """End the connection as a crash does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _send(self, answer: Answer, trouble: Trouble | None) -> None:
        self.send_response(answer.status)
        if answer.kind:
            self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            self._send_whole(answer.body)
        else:
            self._send_parts(answer.body, trouble, endless=answer.endless)

    def _send_whole(self, body: bytes) -> None:
        self.send_header("Vary", "Accept-Encoding")
        if body and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_parts(self, body: Iterator[bytes], trouble: Trouble | None, *, endless: bool) -> None:
        """Parts as they come: in chunks, or, of an endless answer, as they are."""
        if not endless:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = endless or trouble is not None
        for part in trouble.shaped(body) if trouble else body:
            self.wfile.write(part if endless else b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.flush()
        if not (endless or (trouble and trouble.cut is not None)):
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Server":
            super().send_header(keyword, value)
