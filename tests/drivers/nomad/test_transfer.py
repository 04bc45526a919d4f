"""Requests over connections that are kept, against servers that end them, stall, or say little."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pycurl
import pytest

from batchbridge_nomad import transfer
from batchbridge_nomad.transfer import Broken, Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@contextmanager
def serving(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """The URL of a server that does that with each connection, one after the other."""

    def run() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def connections() -> Iterator[Connections]:
    with closing(Connections({})) as them:
        yield them


def get(connections: Connections, url: str, *, silence: float = 30, breakable: bool = False):
    asked = {pycurl.URL: url, pycurl.HTTPGET: 1}
    reply = connections.request(asked, silence=silence, breakable=breakable)
    try:
        reply.read_head()
    except BaseException:
        reply.close()
        raise
    return reply


def until_it_ends(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def test_a_connection_is_kept_for_the_next_request(connections):
    taken = []

    def serve(connection):
        taken.append(connection)
        while connection.recv(1 << 16):
            connection.sendall(OK)

    with serving(serve) as url:
        for _ in range(3):
            with closing(get(connections, url)) as reply:
                assert (reply.status, reply.read()) == (200, b"[]")
        connections.close()
    assert len(taken) == 1


def test_a_kept_connection_that_is_dead_is_replaced(connections):
    def once(connection):
        connection.recv(1 << 16)
        connection.sendall(OK)

    with serving(once) as url:
        for _ in range(3):
            with closing(get(connections, url)) as reply:
                assert reply.read() == b"[]"


def test_connections_that_are_not_in_use_are_let_go(connections):
    ended = threading.Semaphore(0)

    def serve(connection):
        while connection.recv(1 << 16):
            connection.sendall(OK)
        ended.release()

    with serving(serve) as url:
        for _ in range(2):
            with closing(get(connections, url)) as reply:
                assert reply.read() == b"[]"
            connections.thin_out()
            assert ended.acquire(timeout=10)


def test_a_connection_that_nobody_needed_for_a_while_is_let_go(connections, monkeypatch):
    ended = threading.Semaphore(0)

    def serve(connection):
        while connection.recv(1 << 16):
            connection.sendall(OK)
        ended.release()

    with serving(serve) as url, serving(serve) as another:
        for spare in (60.0, 0.0):
            monkeypatch.setattr(transfer, "SPARE", spare)
            with closing(get(connections, url)) as one, closing(get(connections, another)) as other:
                assert one.read() == other.read() == b"[]"
                assert not ended.acquire(blocking=False)
        assert ended.acquire(timeout=10)
        connections.close()
        assert ended.acquire(timeout=10)


def test_an_answer_that_was_not_read_to_its_end_costs_its_connection(connections):
    taken = []

    def serve(connection):
        taken.append(connection)
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
        until_it_ends(connection)

    with serving(serve) as url:
        for _ in range(2):
            with closing(get(connections, url)) as reply:
                assert reply.read1() == b"some"
    assert len(taken) == 2


def test_what_comes_before_the_answer_is_not_it(connections):
    def serve(connection):
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)

    with serving(serve) as url, closing(get(connections, url)) as reply:
        assert (reply.status, reply.read()) == (200, b"[]")


def test_an_answer_that_is_cut_off_tells_what_it_told(connections):
    def serve(connection):
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")

    with serving(serve) as url, closing(get(connections, url)) as reply:
        assert reply.read1() == b"some"
        with pytest.raises(Broken) as caught:
            reply.read1()
    assert caught.value.code == pycurl.E_PARTIAL_FILE


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\n\r\nsome"])
def test_silence_is_an_end(connections, beginning):
    def serve(connection):
        connection.recv(1 << 16)
        connection.sendall(beginning)
        until_it_ends(connection)

    def ask(url):
        with closing(get(connections, url, silence=0.2)) as reply:
            reply.read()

    with serving(serve) as url, pytest.raises(Broken, match="nothing was heard") as caught:
        ask(url)
    assert (caught.value.code, caught.value.sent) == (pycurl.E_OPERATION_TIMEDOUT, True)


def test_where_nobody_listens_nothing_is_sent(connections):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    with pytest.raises(Broken) as caught:
        get(connections, url)
    assert (caught.value.code, caught.value.sent) == (pycurl.E_COULDNT_CONNECT, False)


def test_a_name_that_is_none(connections):
    with pytest.raises(Broken) as caught:
        get(connections, "http://nowhere.invalid/")
    assert (caught.value.code, caught.value.sent) == (pycurl.E_COULDNT_RESOLVE_HOST, False)


def test_a_read_that_waits_returns_when_another_thread_says_so(connections):
    def serve(connection):
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nsome")
        until_it_ends(connection)

    with serving(serve) as url, closing(get(connections, url, breakable=True)) as reply:
        assert reply.read1() == b"some"
        threading.Timer(0.1, reply.shutdown).start()
        assert reply.read1() == b""
        assert reply.read() == b""
    reply.shutdown()
    reply.close()


def test_a_signal_is_heard_while_it_waits(connections):
    def serve(connection):
        connection.recv(1 << 16)
        os.kill(os.getpid(), signal.SIGINT)
        until_it_ends(connection)

    with serving(serve) as url, pytest.raises(KeyboardInterrupt):
        get(connections, url)


def test_none_is_kept_beyond_the_end(connections):
    ended = threading.Event()

    def serve(connection):
        connection.recv(1 << 16)
        connection.sendall(OK)
        until_it_ends(connection)
        ended.set()

    with serving(serve) as url:
        reply = get(connections, url)
        assert reply.read() == b"[]"
        connections.close()
        reply.close()
        assert ended.wait(10)
