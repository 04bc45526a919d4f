"""Answers that are refusals -> errors. Pure.

Nomad answers 500 for nearly everything that is not a missing object: a job that is not valid, an
unknown region, a lost leader. Its text tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pycurl

from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    RateLimited,
    Rejected,
    TransportError,
)
from batchbridge_nomad.transfer import Broken
from batchbridge_nomad.wire import sentence

FORWARDED = re.compile(r"^(rpc error: |RPC Error:: \d+,)+")
"""What an agent writes before the words of the server that it asked."""

PASSING = re.compile(
    r"No cluster leader|not the leader|leadership (was )?lost|Not ready to serve consistent reads"
    r"|keyring has not been initialized|timed out enqueuing operation|raft is already shutdown"
    r"|no servers$|EOF$|i/o timeout|deadline exceeded|connection (refused|reset)|broken pipe"
    r"|closed network connection|(stream|session) (closed|shutdown)|failed to get conn"
    r"|didn't get connection|^shutdown$",
    re.IGNORECASE,
)
"""Words of a 500 that says nothing of what was asked; it may pass."""

PATHLESS = "check the address: it is an agent's, without a path such as /ui or /v1"
"""What to do about a page, and a 404 that has no words; of what is missing, Nomad says which."""

VALIDATION = re.compile(r"\d+ errors? occurred:")
"""How Nomad begins to list what is wrong with a job."""

DENIED = {
    "permission denied": "",
    "acl token not found": "the token is none of this cluster's, or was deleted",
    "acl token is invalid": "the token is none of Nomad's",
    "acl token expired": "get a new token; token_file and token_command are read again by itself",
}
"""Words of a refusal of who asks, and what to do; of what they may do, the call knows."""


REMEDIES = {
    "nonexistent namespace": "nomad namespace list shows the namespaces",
    "node pool": "nomad node pool list shows the node pools",
    "log storage": "ask for more disk: it holds the job's log files too",
    "vault": "vault_role and the paths in vault need a Vault that the cluster is connected to",
    "are disabled by the scheduler": "an operator has closed the cluster for new jobs",
    "variables are limited": "the secrets of a job are one variable; keep what is large elsewhere",
}
"""Words of a refused job, and what to do."""


DISTRUST = (
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_ISSUER_ERROR,
    pycurl.E_SSL_CACERT_BADFILE,
)
"""libcurl's errors of a connection that is not trusted, by one side or the other."""

HUNG_UP = (pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR)
"""libcurl's errors of a connection that was ended before there was an answer."""


class Missing(BatchBridgeError):
    """404, in Nomad's own words: it does not hold that object."""


class Refused(BatchBridgeError):
    """Nomad understood, and said no."""


class Conflict(Refused):
    """409: somebody else has written that object."""


class Unauthorized(AuthError):
    """The token was refused; another one may not be."""


def problem(status: int, text: str, headers: Mapping[str, str]) -> BatchBridgeError:
    """The error that a status of 300 and more means."""
    words = _words(status, text)
    low = words.lower()
    denied = next((remedy for said, remedy in DENIED.items() if low.endswith(said)), None)
    if denied is not None or (status in (401, 403) and "disabled" not in low):
        return Unauthorized(f"Nomad refused the token: {words}", remedy=denied or "")
    if status == 429:
        return RateLimited(
            "Nomad allows no more connections", retry_after=_seconds(headers), sent=False
        )
    if "no path to region" in low:
        return ConfigError(f"Nomad: {words}", remedy="nomad server members lists the regions")
    if "http request to an https server" in low:
        return AuthError(f"Nomad: {words}", remedy="begin the address with https://")
    if words == "HTTP 404":
        return Missing(f"this is no answer of Nomad's API: {words}", remedy=PATHLESS)
    if status in _KINDS:
        return _KINDS[status](words)
    if status < 400 or status in (502, 503, 504) or (status == 500 and passing(words)):
        return TransportError(f"Nomad cannot answer now: {words}")
    return Refused(words)


def _words(status: int, text: str) -> str:
    """Nomad's own, in one line; a proxy's page is none of them."""
    said = FORWARDED.sub("", " ".join(text.split()))
    return said if said and not is_page(said.encode()) else f"HTTP {status}"


def is_page(data: bytes) -> bool:
    """Whether that is a web page: no answer of Nomad's API begins so."""
    return data.lstrip().startswith(b"<")


def astray(address: str) -> TransportError:
    """The error of a page where an answer was to be: no API has heard the request."""
    words = f"a web page answers at {address}, and not Nomad's API"
    return TransportError(words, remedy=PATHLESS, sent=False)


def passing(words: str) -> bool:
    """Whether a 500 with these words says nothing of what was asked."""
    return not VALIDATION.search(words) and PASSING.search(words) is not None


def rejected(words: str) -> Rejected:
    """The error of a job that Nomad refused with these words."""
    low = words.lower()
    remedy = next((help for said, help in REMEDIES.items() if said in low), "")
    return Rejected(f"Nomad refuses the job: {sentence(words)}", remedy=remedy)


def unreachable(error: Broken, address: str) -> BatchBridgeError:
    """The error of a request that got no answer."""
    said = str(error)
    if "wrong version number" in said.lower():
        plain = "if it speaks none, begin the address with http://"
        return AuthError(f"no TLS is spoken at {address}: {said}", remedy=plain)
    if error.code in DISTRUST or "SSL" in said:
        return AuthError(
            f"no trusted connection to {address}: {said}",
            remedy="check ca_cert, tls_server_name, client_cert and client_key",
        )
    if error.code in HUNG_UP and address.startswith("http:"):
        said = f"{said}; an agent that speaks TLS is reached by HTTPS"
    return TransportError(
        f"{address} cannot be reached: {said}",
        remedy="check the address, and that Nomad runs",
        sent=error.sent,
    )


_KINDS: Mapping[int, type[BatchBridgeError]] = {404: Missing, 409: Conflict}


def _seconds(headers: Mapping[str, str]) -> float:
    after = headers.get("retry-after", "")
    return float(after) if after.isdecimal() else 0.0
