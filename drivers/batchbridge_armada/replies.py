"""gRPC errors -> errors of batchbridge. Pure.

Armada maps few of its errors to codes: what it does not map is UNKNOWN, or PERMISSION_DENIED for
all that goes wrong while it looks whether a submit is allowed. Its text tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    RateLimited,
    TransportError,
)
from batchbridge_armada.refusals import Missing, NoQueue, NotStarted, Refused, Unauthorized

DENIED = ("cannot perform action", "permission denied", "unauthorized", "not authorized")
UNTRUSTED = (
    "certificate_verify_failed",
    "ssl handshake",
    "tls handshake",
    "hostname verification",
    "security handshaker",  # a file of ours is no certificate, or no key of it
)
UNREAD = "error unmarshalling request"
"""The server could not read a value of ours, such as an amount of a resource."""

NOT_STARTED = ("is waiting to start", "containercreating", "podinitializing")


def problem(error: grpc.RpcError, asked: str) -> BatchBridgeError:
    """The error that a call's failure means; `asked` is what was, and where: "Armada at host:1"."""
    code, words = facts(error)
    low = words.lower()
    if "could not find queue" in low or ("queue" in low and "does not exist" in low):
        return NoQueue(
            f"Armada: {words}", remedy="check the queue's name; armadactl get queues lists them"
        )
    if UNREAD in low:
        return Refused(words)
    if any(word in low for word in NOT_STARTED):
        return NotStarted(words)
    if code is grpc.StatusCode.UNKNOWN and "forbidden" in low:
        return _forbidden(words)
    by_code = _BY_CODE.get(code)
    if by_code is not None:
        return by_code(words)
    if code is grpc.StatusCode.UNKNOWN and any(word in low for word in DENIED):
        return _denied(words)
    return unreachable(words, asked)


def facts(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """The code and the words of a failed call."""
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    return code, " ".join((details or "").split()) or code.name


def unreachable(words: str, asked: str) -> BatchBridgeError:
    """The error of a call that got no answer of use."""
    if any(word in words.lower() for word in UNTRUSTED):
        return AuthError(
            f"no trusted connection to {asked}: {words}",
            remedy="check tls, ca_cert, tls_server_name, client_cert and client_key",
        )
    return TransportError(
        f"{asked} cannot answer: {words}",
        remedy="check the address, whether it speaks TLS or wants client_cert, and that it runs",
    )


def _denied(words: str) -> BatchBridgeError:
    return AuthError(
        f"Armada does not allow this: {words}",
        remedy="ask for the right on the queue: submit, cancel and watch are the least",
    )


def _forbidden(words: str) -> BatchBridgeError:
    return AuthError(
        f"Kubernetes does not allow this: {words}",
        remedy="ask for the right to get pods/log in the job's namespace",
    )


def _unauthorized(words: str) -> BatchBridgeError:
    return Unauthorized(
        f"Armada refused the credential: {words}",
        remedy="check what says who you are: username, token, oidc_provider, armadactl_config",
    )


def _not_armada(words: str) -> BatchBridgeError:
    return ConfigError(
        f"this is not Armada, or too old: {words}", remedy="check the address: it is the gRPC port"
    )


_BY_CODE: dict[grpc.StatusCode, Callable[[str], BatchBridgeError]] = {
    grpc.StatusCode.UNAUTHENTICATED: _unauthorized,
    grpc.StatusCode.PERMISSION_DENIED: _denied,
    grpc.StatusCode.NOT_FOUND: Missing,
    grpc.StatusCode.INVALID_ARGUMENT: Refused,
    grpc.StatusCode.OUT_OF_RANGE: Refused,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.UNIMPLEMENTED: _not_armada,
}
