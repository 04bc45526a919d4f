"""Armada's server behind other doors: one that asks who comes, one that wants a certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml

from localdev.armada_state import load
from localdev.common import free_port
from tests.drivers.armada.certificates import Pair
from tests.drivers.armada.issuer import AUDIENCE, Issuer

ADMINS = "admins"
RIGHTS = (
    "submit_any_jobs",
    "cancel_any_jobs",
    "preempt_any_jobs",
    "reprioritize_any_jobs",
    "watch_all_events",
    "create_queue",
)


@contextmanager
def guarded(state: Path, folder: Path, issuer: Issuer, pair: Pair | None) -> Iterator[str]:
    """Another server of that Armada, where nobody is anonymous; over TLS with that certificate.

    It knows ada, who may do all, and bob, who may do nothing, and whom the issuer vouches for.
    """
    with _another(state, "server", _own(issuer, pair), folder) as address:
        yield address


@contextmanager
def strict_binoculars(state: Path, folder: Path) -> Iterator[str]:
    """Another Binoculars of that Armada, which asks Kubernetes in the name of who asks it."""
    with _another(state, "binoculars", {"impersonateUsers": True}, folder) as address:
        yield address


@contextmanager
def _another(state: Path, name: str, changes: dict[str, Any], folder: Path) -> Iterator[str]:
    """Another process of that program, which is told so besides; where it is."""
    port = free_port()
    told = yaml.safe_load((state / "conf" / f"{name}.yaml").read_text())
    ports = {"grpcPort": port, "httpPort": free_port(), "metricsPort": free_port()}
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    file.write_text(yaml.safe_dump({**told, **ports, **changes}))
    stack = load(state)  # now: what was restarted is another process
    own = stack and stack.processes[name].find()
    assert own
    words = [*own.cmdline()[:-2], "--config", str(file)]
    with (
        log.open("wb") as out,
        Popen(words, cwd=own.cwd(), env=own.environ(), stdout=out, stderr=out) as process,
    ):
        try:
            _await(port, process, log)
            yield f"localhost:{port}"
        finally:
            process.terminate()


def _own(issuer: Issuer, pair: Pair | None) -> dict[str, Any]:
    tls = {"enabled": True, "certPath": str(pair.cert), "keyPath": str(pair.key)} if pair else {}
    users = {
        "ada": {"password": "a", "groups": [ADMINS]},
        "bob": {"password": "b", "groups": ["guests"]},
    }
    return {
        "grpc": {"tls": tls},
        "auth": {
            "anonymousAuth": False,
            "basicAuth": {"users": users},
            "openIdAuth": {
                "providerUrl": issuer.url,
                "clientId": AUDIENCE,
                "groupsClaim": "groups",
            },
            "permissionGroupMapping": {right: [ADMINS] for right in RIGHTS},
        },
    }


def _await(port: int, process: Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        alive = process.poll() is None and time.monotonic() < deadline
        assert alive, log.read_text(errors="replace")[-2000:]
        time.sleep(0.1)


# -- a proxy ---------------------------------------------------------------------------------


@contextmanager
def doorman(address: str, pair: Pair, clients: Path) -> Iterator[str]:
    """A proxy before that server: TLS, and only for who has a certificate of that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(clients))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["h2"])
    loop = asyncio.new_event_loop()
    host, _, port = address.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        within, out = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass(reader, out), _pass(within, writer))

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        starting = asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
        yield f"localhost:{server.sockets[0].getsockname()[1]}"
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
