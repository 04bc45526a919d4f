"""A proxy that counts the requests that pass: what a program asks is seen, and not believed."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HEAD_ENDS = b"\r\n\r\n"
"""What JSON bodies do not hold."""


class Proxy(socketserver.ThreadingTCPServer):
    """Passes everything on to `target`, and back; counts the heads of requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = target
        self.requests = 0
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, requests: int) -> None:
        """So many more have passed."""
        with self._lock:
            self.requests += requests


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as target:
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_copy, args=(target, self.request), daemon=True)
            back.start()
            _copy(self.request, target, self._count())
            back.join()

    def _count(self) -> Callable[[bytes], None]:
        rest = b""

        def look(data: bytes) -> None:
            nonlocal rest
            self.server.count((rest + data).count(HEAD_ENDS))
            rest = (rest + data)[1 - len(HEAD_ENDS) :]

        return look


def _copy(
    source: socket.socket, target: socket.socket, look: Callable[[bytes], None] = bool
) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            look(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def counting(host: str) -> Iterator[Proxy]:
    """A proxy before ``NAME:PORT``, for a while."""
    name, _, port = host.rpartition(":")
    with Proxy((name, int(port))) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
