"""Programs that stand in for what ``localdev/armada`` starts: ``python -m … PROGRAM ARGUMENTS…``.

Armada's server is the one of the driver's tests. The others listen where they are told to.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NOTES = "STAND_INS"
"""Names the file in which each program notes how it was called."""


def wait() -> None:
    """Until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    over.wait()


def serve(config: str) -> None:
    """Armada's server, at the port of that configuration."""
    import yaml  # here: the other programs are many, and need not wait for it

    from tests.drivers.armada.server import Armada

    armada = Armada(port=yaml.safe_load(Path(config).read_text())["grpcPort"])
    wait()
    armada.close()


def listen(port: int) -> None:
    """Accept connections, and say nothing."""
    with socket.create_server(("127.0.0.1", port)):
        wait()


class Namespaces(BaseHTTPRequestHandler):
    """What Pulsar says once it can be used."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'["public/default"]')

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def pulsar() -> None:
    """Its web service."""
    lines = Path(os.environ["PULSAR_STANDALONE_CONF"]).read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    server = HTTPServer(("127.0.0.1", int(settings["webServicePort"])), Namespaces)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wait()


def postgres(arguments: list[str]) -> None:
    """A server, or what makes a database."""
    if "--single" in arguments:
        assert sys.stdin.read().startswith("CREATE DATABASE ")
        return
    (port,) = [word for word in arguments if word.startswith("port=")]
    listen(int(port.removeprefix("port=")))


def mage(arguments: list[str]) -> None:
    """The targets that stay serve; the others end."""
    if arguments == ["-version"]:
        print("Mage Build Tool v1.17.2")
    elif arguments[0] == "dev:up":
        serve("_local/server/config.yaml")
    else:
        print("mage tells what it does")


def main(program: str, *arguments: str) -> None:
    """Do what that program does."""
    with Path(os.environ[NOTES]).open("a") as notes:
        notes.write(" ".join([program, *arguments]) + "\n")
    match program:
        case "server":
            serve(arguments[-1])
        case "mage":
            mage(list(arguments))
        case "redis-server":
            listen(int(arguments[arguments.index("--port") + 1]))
        case "postgres":
            postgres(list(arguments))
        case "pulsar":
            pulsar()
        case "initdb" | "lookout" | "docker" | "go" | "kind" | "java":
            pass
        case "scheduler" if "migrateDatabase" in arguments:
            pass
        case _:
            wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
