"""A stand-in for the program ``nomad``: its agent runs jobs, in this process, on a port."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tests.drivers.nomad.agent import Agent, least
from tests.drivers.nomad.agent.answers import Answer, Request, found, refused

VERSION = "Nomad v0.0.1-stand-in"
MANAGEMENT, TOKEN = "the-management-token", "the-token"

PROGRAM = """#!{python}
import sys
sys.path[:0] = {path!r}
from tests.localdev.stand_in import main
main(sys.argv[1:])
"""


def install(directory: Path) -> Path:
    """The program, in that directory."""
    program = directory / "nomad"
    program.write_text(PROGRAM.format(python=sys.executable, path=sys.path))
    program.chmod(0o755)
    return program


def main(words: list[str]) -> None:
    """``nomad version`` and ``nomad agent -dev -config=…``; nothing else is known."""
    if words == ["version"]:
        print(f"{VERSION}\nBuildDate unknown")
    elif words[:2] == ["agent", "-dev"]:
        (first, *_) = [word.removeprefix("-config=") for word in words[2:]]
        serve(json.loads(Path(first).read_bytes()))
    else:
        sys.exit(f"the stand-in has no {' '.join(words)}")


def serve(config: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    if "AWS_CA_BUNDLE" in os.environ:
        sys.exit("has no WithTransportOptions")
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    tokens = {MANAGEMENT: least(), TOKEN: least()} if config["acl"]["enabled"] else None
    with _Administered(policies=tokens, port=config["ports"]["http"]):
        print("==> Nomad agent started!", flush=True)
        over.wait()


class _Administered(Agent):
    """That agent, with the calls that hand out its tokens."""

    def _answer(self, request: Request) -> Answer:
        match request.method, request.path:
            case "POST", "/v1/acl/bootstrap":
                return found({"SecretID": MANAGEMENT})
            case "PUT", "/v1/acl/policy/batchbridge" | "/v1/acl/token":
                allowed = request.token == MANAGEMENT
                return found({"SecretID": TOKEN}) if allowed else refused(403, "Permission denied")
        return super()._answer(request)
