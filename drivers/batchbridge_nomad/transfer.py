"""Requests over connections that are kept, their answers read as they come; by libcurl.

libcurl is driven step by step: a call of its own that waits would keep Ctrl-C waiting too, and one
thread can wait for many answers.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
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
        """A request on its way, on a connection of its own, and the answer that it will have.

        It is broken where `silence` seconds pass between two of its bytes. Where a connection that
        was kept is dead, libcurl makes another. `breakable`: another thread may shut the answer
        down.
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

    Iterating gives its bytes as they come. Broken where there is none, or where it breaks.
    """

    def __init__(
        self, connection: Connection, home: Connections, *, silence: float, breakable: bool
    ) -> None:
        self._connection = connection
        self._home = home
        self._silence, self._heard_at = silence, time.monotonic()
        self._bell = socket.socketpair() if breakable else None
        self.files: Mapping[int, int] = {}  #: what it waits for, if so: files, and poll's events
        self.resolving = False  #: it waits for a name, of which poll knows nothing
        self._closed, self._shut = False, False
        self.over = False  #: nothing more will come: it is whole, or broken
        self._cut: Broken | None = None
        connection.multi.add_handle(connection.curl)
        try:
            self.advance()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read1, b"")

    @property
    def status(self) -> int:
        """The status code, once what is before the body was read."""
        return int(self._connection.curl.getinfo(pycurl.RESPONSE_CODE))

    @property
    def head(self) -> tuple[bytes, ...]:
        """The lines before the body."""
        return tuple(self._connection.head)

    def read_head(self) -> None:
        """Read what is before the body. Broken where there is none."""
        while not (self.over or self._headed()):
            self._step()
        if self._cut and not self._headed():
            raise self._cut

    def read1(self) -> bytes:
        """Some bytes, as soon as there are any; none at its end. Broken where it breaks."""
        body = self._connection.body
        while not (body or self.over or self._shut):
            self._step()
        if self._shut:
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
        self._shut = True
        if self._bell:
            with suppress(OSError):  # it is closed already
                self._bell[1].send(b"!")

    def close(self) -> None:
        """Let go of it; a second time, nothing. What was not read to its end costs a connection."""
        if self._closed:
            return
        self._closed, self.over = True, True
        self._connection.multi.remove_handle(self._connection.curl)
        self._home.give_back(self._connection)
        for end in self._bell or ():
            end.close()

    def advance(self) -> bool:
        """Let libcurl read and write what it can; whether that told anything."""
        if self.over:
            return True
        heard = self._heard()
        _, active = self._connection.multi.perform()
        if not active:
            self._finish()
        elif self._heard() != heard:
            self._heard_at = time.monotonic()
        elif self.patience <= 0:
            words = f"nothing was heard for {self._silence:g} s"
            self._cut, self.over = self._broken(pycurl.E_OPERATION_TIMEDOUT, words), True
        else:
            self._look()
            return False
        return True

    @property
    def patience(self) -> float:
        """Seconds for which it may go on saying nothing."""
        return self._heard_at + self._silence - time.monotonic()

    def _headed(self) -> bool:
        """Whether the answer's head is there; one below 200 may come before it."""
        head = self._connection.head
        return bool(head) and not head[-1].strip() and self.status >= 200

    def _step(self) -> None:
        if not self.advance():
            wait([self])

    def _heard(self) -> int:
        return len(self._connection.head) + len(self._connection.body)

    def _finish(self) -> None:
        self.over = True
        _, _, failed = self._connection.multi.info_read()
        self._cut = next((self._broken(code, words) for _, code, words in failed), None)

    def _look(self) -> None:
        """Note what it waits for."""
        reads, writes, _ = self._connection.multi.fdset()
        bell = [self._bell[0].fileno()] if self._bell else []
        files = dict.fromkeys([*reads, *bell], select.POLLIN)
        self.files = {**files, **{file: files.get(file, 0) | select.POLLOUT for file in writes}}
        self.resolving = not (reads or writes)

    def _broken(self, code: int, words: str) -> Broken:
        sent = self._connection.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        return Broken(code, words, sent=sent)


def wait(replies: Collection[Reply]) -> list[Reply]:
    """Wait until some of these answers, each advanced in vain, can be advanced; those."""
    files = {file: reply for reply in replies for file in reply.files}
    poll = select.poll()
    for file, reply in files.items():
        poll.register(file, reply.files[file])
    longest = RESOLVING if any(reply.resolving for reply in replies) else TICK
    seconds = min(longest, *(reply.patience for reply in replies))
    told = poll.poll(1000 * max(0.0, seconds))
    return list(dict.fromkeys(files[file] for file, _ in told)) or list(replies)
