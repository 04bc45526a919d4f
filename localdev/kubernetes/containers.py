"""One container as a process of this machine: its variables, its output, its end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localdev.kubernetes.store import Object

REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")
SIZE = re.compile(r"([\d.]+)(m|[KMGTPE]i?|k)?")
FACTORS = {"": 1.0, "m": 0.001, "k": 1000.0, "K": 1000.0}
FACTORS |= {f"{letter}i": 1024.0 ** (n + 1) for n, letter in enumerate("KMGTPE")}
FACTORS |= {letter: 1000.0 ** (n + 1) for n, letter in enumerate("KMGTPE")}


def quantity(text: str) -> float:
    """``100m``, ``64Mi`` or ``2`` as a number."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    return float(match[1]) * FACTORS[match[2] or ""]


def expanded(text: str, env: Mapping[str, str]) -> str:
    """What Kubernetes makes of a word of a command: ``$(NAME)`` is replaced, ``$$`` is ``$``."""
    return REFERENCE.sub(lambda m: "$" if m[0] == "$$" else env.get(m[1] or "", m[0]), text)


def variables(
    container: Object, base: Mapping[str, str], secret: Callable[[str], Mapping[str, str]]
) -> dict[str, str]:
    """The environment of a container; `secret` gives the values of a secret.

    KeyError where a secret has no such key.
    """
    env = dict(base)
    for source in container.get("envFrom") or ():
        env.update(secret(source["secretRef"]["name"]))
    for one in container.get("env") or ():
        key = one.get("valueFrom", {}).get("secretKeyRef")
        value = secret(key["name"])[key["key"]] if key else expanded(one.get("value", ""), env)
        env[one["name"]] = value
    return env


class Container:
    """A running command. Its process leads a session, in which all that it starts stays."""

    def __init__(self, container: Object, env: Mapping[str, str], folder: Path) -> None:
        """Start it. OSError if that cannot be done."""
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        self.log = folder / "log"
        self.log.touch()
        self.work = Path(container.get("workingDir") or folder / "work")
        self._process = subprocess.Popen(
            [expanded(word, env) for word in words],
            env=dict(env),
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.session = self._process.pid
        self.started = time.time()
        self._reader = threading.Thread(target=self._keep_output)
        self._reader.start()

    def wait(self) -> int:
        """The exit code, 128 + n after signal n, once the process and its output have ended."""
        code = self._process.wait()
        self._signal_all(signal.SIGKILL)  # a container ends with its first process
        self._reader.join()
        return 128 - code if code < 0 else code

    def end(self, grace: float) -> None:
        """Ask the process to end; after `grace` seconds, end everything."""
        if grace > 0:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.session, number)

    def _keep_output(self) -> None:
        output = self._process.stdout
        assert output is not None
        with output, self.log.open("ab") as log:
            for line in output:
                log.write(_stamp() + b" " + line.removesuffix(b"\n") + b"\n")
                log.flush()


def read_log(log: Path, *, since: str, limit: int | None, tail: int | None) -> bytes:
    """Lines with their times, from the second of `since` on, cut after `limit` bytes."""
    chosen = b"".join(_since(log, since[:19].encode()))
    if tail is not None:
        chosen = b"".join(chosen.splitlines(keepends=True)[-tail:] if tail else ())
    return chosen[:limit]


def _since(log: Path, second: bytes) -> Iterator[bytes]:
    with log.open("rb") as lines:
        for line in lines:
            if line[:19] >= second and line.endswith(b"\n"):
                yield line


def _stamp() -> bytes:
    at = time.time_ns()
    second = datetime.fromtimestamp(at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{at % 10**9:09}Z".encode()


def limits(container: Object) -> dict[str, float]:
    """What the container may use at most, by resource."""
    stated: dict[str, Any] = container.get("resources", {}).get("limits") or {}
    return {name: quantity(str(value)) for name, value in stated.items()}
