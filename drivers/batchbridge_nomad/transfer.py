"""One request at a time over a connection that is kept, its answer read as it comes; by libcurl.

libcurl is driven step by step: a call of its own that waits would keep Ctrl-C waiting too.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import pycurl

Options: TypeAlias = Mapping[int, Any]
"""What libcurl is to do: its numbers of options, and their values."""

KEPT = 100
"""Connections that may be kept: an agent allows one address no more. There are as many as requests
were under way at once, ..."""

SPARE = 5.0
"""... but none that was not needed for so many seconds."""

TICK = 1.0
"""Seconds after which libcurl looks at its own limits, whatever happens; ..."""

RESOLVING = 0.01
"""... while it resolves a name, and there is nothing to wait for."""


class Broken(Exception):
    """There was no answer, or it was cut off: libcurl's number for that, and its words."""

    def __init__(self, code: int, words: str, *, sent: bool) -> None:
        super().__init__(words)
        self.code = code
        self.sent = sent  #: whether any of the request may have arrived


class Connection:
    """One of libcurl's handles, which keeps its connection, and what it has heard of an answer."""

    def __init__(self, options: Options) -> None:
        self.head: list[bytes] = []
        self.body: deque[bytes] = deque()
        self.multi = pycurl.CurlMulti()
        self.curl = pycurl.Curl()
        self.idle_since = 0.0
        # No functions in Python: Ctrl-C in one of those would be libcurl's to report.
        heard = {pycurl.HEADERFUNCTION: self.head.append, pycurl.WRITEFUNCTION: self.body.append}
        self.set({pycurl.NOSIGNAL: 1, **options, **heard})

    def set(self, options: Options) -> None:
        """Of the requests from now on."""
        for option, value in options.items():
            self.curl.setopt(option, value)

    def clear(self) -> None:
        """Forget what it has heard."""
        self.head.clear()
        self.body.clear()

    def close(self) -> None:
        """Let go of what libcurl holds."""
        self.curl.close()
        self.multi.close()


class Connections:
    """Connections to one address. Safe from several threads."""

    def __init__(self, options: Options) -> None:
        """`options`: those of every request."""
        self._options = options
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def request(self, options: Options, *, silence: float, breakable: bool = False) -> Reply:
        """The answer to one request, on a connection of its own; what is before its body was read.

        Broken where there is none, or where `silence` seconds pass between two of its bytes. Where
        a connection that was kept is dead, libcurl makes another. `breakable`: another thread may
        shut the answer down.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else Connection(self._options)
        connection.set(options)
        return Reply(connection, self, silence=silence, breakable=breakable)

    def give_back(self, connection: Connection) -> None:
        """Keep that connection for another request, and let go of those that were not needed."""
        connection.clear()
        connection.idle_since = time.monotonic()
        with self._lock:
            keep = not self._closed and len(self._idle) < KEPT
            gone = self._unneeded() if keep else [connection]
            if keep:
                self._idle.append(connection)
        for one in gone:
            one.close()

    def _unneeded(self) -> list[Connection]:
        """Those that have been idle for long: the first ones, because the last is taken first."""
        since = time.monotonic() - SPARE
        many = sum(one.idle_since < since for one in self._idle)
        gone, self._idle = self._idle[:many], self._idle[many:]
        return gone

    def close(self) -> None:
        """Let go of all; those in use go when their requests are over."""
        with self._lock:
            self._closed = True
        self.thin_out()

    def thin_out(self) -> None:
        """Let go of those that are not in use: others may have them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class Reply:
    """An answer, for one thread to read; closing it gives its connection back.

    Iterating gives its bytes as they come. Broken where it breaks.
    """

    def __init__(
        self, connection: Connection, home: Connections, *, silence: float, breakable: bool
    ) -> None:
        self._connection = connection
        self._home = home
        self._silence, self._heard_at = silence, time.monotonic()
        self._bell = socket.socketpair() if breakable else None
        self._going, self._closed, self._over = True, False, False
        self._cut: Broken | None = None
        connection.multi.add_handle(connection.curl)
        try:
            self._read_head()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read1, b"")

    @property
    def status(self) -> int:
        """The status code."""
        return int(self._connection.curl.getinfo(pycurl.RESPONSE_CODE))

    @property
    def head(self) -> tuple[bytes, ...]:
        """The lines before the body."""
        return tuple(self._connection.head)

    def read1(self) -> bytes:
        """Some bytes, as soon as there are any; none at its end. Broken where it breaks."""
        body = self._connection.body
        while self._going and not (body or self._over):
            self._step()
        if self._over:
            return b""
        if self._cut and not body:
            raise self._cut
        some = b"".join(body)
        body.clear()
        return some

    def read(self) -> bytes:
        """The rest. Broken where it breaks."""
        return b"".join(self)

    def shutdown(self) -> None:
        """Make a read that waits return, as at the end. From any thread, if it is breakable."""
        self._over = True
        if self._bell:
            with suppress(OSError):  # it is closed already
                self._bell[1].send(b"!")

    def close(self) -> None:
        """Let go of it; a second time, nothing. What was not read to its end costs a connection."""
        if self._closed:
            return
        self._closed, self._going = True, False
        self._connection.multi.remove_handle(self._connection.curl)
        self._home.give_back(self._connection)
        for end in self._bell or ():
            end.close()

    def _read_head(self) -> None:
        while self._going and not self._headed():
            self._step()
        if self._cut and not self._headed():
            raise self._cut

    def _headed(self) -> bool:
        """Whether the answer's head is there; one below 200 may come before it."""
        head = self._connection.head
        return bool(head) and not head[-1].strip() and self.status >= 200

    def _step(self) -> None:
        """Let libcurl read and write what it can, and where that tells nothing, wait."""
        heard = self._heard()
        _, active = self._connection.multi.perform()
        if not active:
            self._finish()
        elif self._heard() != heard:
            self._heard_at = time.monotonic()
        else:
            self._wait()

    def _heard(self) -> int:
        return len(self._connection.head) + len(self._connection.body)

    def _finish(self) -> None:
        self._going = False
        _, _, failed = self._connection.multi.info_read()
        self._cut = next((self._broken(code, words) for _, code, words in failed), None)

    def _wait(self) -> None:
        left = self._heard_at + self._silence - time.monotonic()
        if left <= 0:
            words = f"nothing was heard for {self._silence:g} s"
            raise self._broken(pycurl.E_OPERATION_TIMEDOUT, words)
        reads, writes, _ = self._connection.multi.fdset()
        longest = TICK if reads or writes else RESOLVING
        poll = select.poll()
        for file in (*reads, *([self._bell[0].fileno()] if self._bell else ())):
            poll.register(file, select.POLLIN)
        for file in writes:
            poll.register(file, select.POLLOUT)
        poll.poll(1000 * min(left, longest))

    def _broken(self, code: int, words: str) -> Broken:
        sent = self._connection.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        return Broken(code, words, sent=sent)
