"""Values that must not be seen: where they come from, and reading them as late as possible.

A source is ``env:NAME``, ``file:PATH`` or ``command:CMD`` (split as a shell would, run without
one). No value, and nothing that a command printed on stdout, is ever part of an error.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from batchbridge.errors import ConfigError, SpecError, UsageError
from batchbridge.model import Secret
from batchbridge.values import suggestion

COMMAND_SECONDS = 60.0
"""How long a command may take to print a value."""


def from_flag(text: str) -> tuple[str, str]:
    """``NAME`` or ``NAME=SOURCE`` as ``(name, source)``; without a source, ``env:NAME``."""
    name, _, source = text.partition("=")
    return name, source or f"env:{name}"


def resolve(sources: Mapping[str, str]) -> dict[str, Secret]:
    """The values of a job's secrets, read now; SpecError naming the first that cannot be."""
    return {name: _named(name, source) for name, source in sources.items()}


class Credential:
    """A credential of a driver: a value, what a file holds, or what a command prints.

    It is read when first asked for, and once more each time the engine refused it, since token
    files and commands hand out values that expire. Safe from several threads.
    """

    __slots__ = ("_known", "_lock", "_name", "_source")

    def __init__(
        self,
        name: str,
        value: str | None = None,
        *,
        file: str | None = None,
        command: str | None = None,
    ) -> None:
        """`name` is the setting's, for errors; ConfigError if more than one way is given."""
        ways = [f"file:{file}" if file else "", f"command:{command}" if command else ""]
        given = [way for way in ways if way]
        if len(given) + bool(value) > 1:
            raise ConfigError(f"{name} is given in more than one way", remedy="keep one of them")
        self._name = name
        self._source = given[0] if given else None
        self._known = value or None
        self._lock = threading.Lock()

    def get(self) -> str | None:
        """The value, for the call that needs it; None where none is configured."""
        with self._lock:
            if self._known is None and self._source:
                self._known = self._read(self._source)
            return self._known

    def refused(self, value: str | None) -> bool:
        """The engine did not accept `value`: whether asking again may give another."""
        with self._lock:
            if self._known == value and self._source:
                self._known = None
            return self._known != value

    def _read(self, source: str) -> str:
        try:
            return _read(source)
        except UsageError as error:
            raise ConfigError(f"{self._name}: {error}", remedy=error.remedy) from None


def _named(name: str, source: str) -> Secret:
    try:
        return Secret(_read(source))
    except UsageError as error:
        path = f"secrets.{name}"
        raise SpecError(f"{path}: {error}", path=path, remedy=error.remedy) from None


def _read(source: str) -> str:
    kind, separator, where = source.partition(":")
    if kind not in _READERS or not separator or not where:
        raise UsageError(
            f"{source!r} is no source{suggestion(kind, _READERS)}",
            remedy="write env:NAME, file:PATH or command:CMD",
        )
    value = _READERS[kind](where)
    if "\0" in value:
        raise UsageError(f"what {source!r} gives holds a NUL byte")
    return value


def _from_env(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise UsageError(
            f"the variable {name} is not set", remedy=f"export {name}, or name another source"
        ) from None


def _from_file(path: str) -> str:
    try:
        return _text(Path(path).expanduser().read_bytes(), path)
    except (OSError, RuntimeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {words}") from None


def _from_command(command: str) -> str:
    try:
        arguments = shlex.split(command)
        # stderr stays the user's, so that the command can say what is wrong, or ask for a password
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{command!r} printed nothing in {COMMAND_SECONDS:.0f} s") from None
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"{command!r} cannot be run: {error}") from None
    if done.returncode:
        raise UsageError(f"{command!r} ended with {done.returncode}")
    return _text(done.stdout, command)


def _text(data: bytes, where: str) -> str:
    """As text, without the newline that ends it."""
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError(f"what {where!r} gives is not UTF-8") from None


_READERS = {"env": _from_env, "file": _from_file, "command": _from_command}
