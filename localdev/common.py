"""What the commands here share: errors, one command at a time, free ports, lines for ``eval``."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click


class Failed(click.ClickException):
    """What cannot be done, and what may help; exit code 1."""


def say(text: str) -> None:
    """Tell people something; stdout is for ``eval``."""
    click.echo(text, err=True)


def print_exports(variables: Mapping[str, str]) -> None:
    """Print these variables for ``eval``, whatever their values hold."""
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def print_unset(names: Iterable[str]) -> None:
    """Print, for ``eval``, what takes these variables back."""
    click.echo(f"unset {' '.join(names)}")


def listed(paths: str, path: Path) -> str:
    """A list such as PATH's, with `path` before the others."""
    return os.pathsep.join(filter(None, [str(path), unlisted(paths, path)]))


def unlisted(paths: str, path: Path) -> str:
    """A list such as PATH's, without `path`."""
    return os.pathsep.join(one for one in paths.split(os.pathsep) if one not in ("", str(path)))


def runs(*command: str) -> bool:
    """Whether that command is there, and ends with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """One command at a time for one state directory; no lock file is left behind."""
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state.parent, os.O_RDONLY)
    except OSError as error:
        raise Failed(f"{state} cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_ours(state: Path, *marks: str) -> None:
    """Failed where something stands there that is not ours, as it would be removed.

    A directory of ours has all of these `marks` in it.
    """
    if not state.exists():
        return
    held = {path.name for path in state.iterdir()} if state.is_dir() else {"a file"}
    if held and not held >= {*marks}:
        raise Failed(f"{state} holds other things, which would be removed: choose another --state")


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a server may listen at that port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def check_free(port: int, remedy: str = "choose another with --port") -> None:
    """Failed where that port is taken."""
    if not is_free(port):
        raise Failed(f"port {port} is taken; {remedy}")
