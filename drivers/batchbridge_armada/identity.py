"""Who we are, in the words of a call's metadata."""

from __future__ import annotations

from base64 import b64encode
from typing import Protocol

from batchbridge.errors import ConfigError
from batchbridge.secrets import Credential
from batchbridge_armada import oidc
from batchbridge_armada.settings import ArmadaSettings

Metadata = tuple[tuple[str, str], ...]


class Source(Protocol):
    """Where a password or token comes from. Safe from several threads."""

    def get(self) -> str | None:
        """The value, for the call that needs it; None where none is configured."""

    def refused(self, value: str | None) -> bool:
        """The server did not accept `value`: whether asking again may give another."""


class Identity:
    """What is sent along with a call, and with the next one where that was refused."""

    def __init__(self, settings: ArmadaSettings, source: Source | None = None) -> None:
        """`source` gives the token where something else than these settings knows it."""
        self._user = settings.username
        self._source = source or _source(settings)

    def credential(self) -> str | None:
        """The password or token, read when first asked for."""
        return self._source.get()

    def metadata(self, value: str | None) -> Metadata:
        """What is sent along with a call, with that credential; ConfigError if it cannot be."""
        if self._user:
            pair = b64encode(f"{self._user}:{value or ''}".encode()).decode()
            return (("authorization", f"basic {pair}"),)
        return (("authorization", f"Bearer {_sendable(value)}"),) if value else ()

    def refused(self, value: str | None) -> bool:
        """The server did not accept `value`: whether another call may have more success."""
        return self._source.refused(value)


def _sendable(token: str) -> str:
    """The token. gRPC would only say that metadata is invalid, and not which."""
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(
            "the token cannot be sent: it has a line's end, or another character that is no"
            " printable ASCII",
            remedy="check what gives the token: it must be the token alone",
        )
    return token


def _source(settings: ArmadaSettings) -> Source:
    if settings.oidc_provider:
        return oidc.client_credentials(settings)
    if settings.username:
        return Credential("password", settings.password, file=settings.password_file)
    return Credential(
        "token", settings.token, file=settings.token_file, command=settings.token_command
    )
