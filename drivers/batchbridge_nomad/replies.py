"""Answers that are refusals -> errors. Pure.

Nomad answers 500 for nearly everything that is not a missing object: a job that is not valid, an
unknown region, a lost leader. Its text tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from requests.exceptions import RequestException, SSLError

from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    RateLimited,
    TransportError,
)

PASSING = ("no cluster leader", "rpc error", "timed out", "timeout", "connection refused", "eof")
"""Words of a 500 that says nothing of what was asked; it may pass."""

DENIED = ("permission denied", "acl token not found", "acl token expired")


class Missing(BatchBridgeError):
    """404, in Nomad's own words: it does not hold that object."""


class Refused(BatchBridgeError):
    """Nomad understood, and said no."""


class Conflict(Refused):
    """409: somebody else has written that object."""


class Unauthorized(AuthError):
    """The token was refused; another one may not be."""


def problem(status: int, text: str, headers: Mapping[str, str]) -> BatchBridgeError:
    """The error that a status of 400 and more means."""
    words = " ".join(text.split()) or f"HTTP {status}"
    low = words.lower()
    if status in (401, 403) or any(word in low for word in DENIED):
        return Unauthorized(f"Nomad refused the token: {words}")
    if status == 429:
        return RateLimited("Nomad allows no more connections", retry_after=_seconds(headers))
    if "no path to region" in low:
        return ConfigError(f"Nomad: {words}", remedy="nomad server members lists the regions")
    if status in _KINDS:
        return _KINDS[status](words)
    if status in (502, 503, 504) or (status == 500 and any(word in low for word in PASSING)):
        return TransportError(f"Nomad cannot answer now: {words}")
    return Refused(words)


def unreachable(error: RequestException, address: str) -> BatchBridgeError:
    """The error of a request that got no answer."""
    if isinstance(error, SSLError):
        return AuthError(
            f"no trusted connection to {address}: {_origin(error)}",
            remedy="check ca_cert, tls_server_name, client_cert and client_key",
        )
    return TransportError(
        f"{address} cannot be reached: {_origin(error)}",
        remedy="check the address, and that Nomad runs",
    )


def _origin(error: BaseException) -> BaseException:
    """What the libraries between wrapped."""
    inner = error.__cause__ or error.__context__
    return _origin(inner) if inner is not None else error


_KINDS: Mapping[int, type[BatchBridgeError]] = {404: Missing, 409: Conflict}


def _seconds(headers: Mapping[str, str]) -> float:
    after = headers.get("Retry-After", "")
    return float(after) if after.isdecimal() else 1.0
