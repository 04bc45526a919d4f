"""One HTTP session for everything: who we are, whom we trust, and by which way we connect.

It stands in python-nomad where requests' would, which names a `verify` and a `cert` in each call
that verify nothing, and knows neither a server's name nor a socket. Here all of that is the pool's,
and nothing else is heeded: no proxy, netrc or bundle of certificates that the environment names.
"""

from __future__ import annotations

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from batchbridge.errors import ConfigError, TransportError
from batchbridge.secrets import Credential
from batchbridge_nomad.replies import Unauthorized, problem, unreachable
from batchbridge_nomad.settings import NomadSettings

UNIX = "unix://"

CONNECTIONS = 100
"""Connections that may be kept: an agent allows one address no more. There are as many as calls
were under way at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Nomad answered, as python-nomad reads it; what is not `ok` was raised instead."""

    raw: BaseHTTPResponse
    ok: ClassVar[bool] = True

    def json(self) -> Any:
        """Its value; TransportError if it has none, but is a proxy's page, say."""
        try:
            return msgspec.json.decode(self.raw.data)
        except msgspec.MsgspecError as error:
            raise TransportError(f"this is no answer of Nomad's: {error}") from error


class Session:
    """Requests to one address, as one identity. Safe from several threads.

    Each is sent once; after a refusal once more, where the token may be another by then. They raise
    errors of :mod:`batchbridge.errors`. No redirect is followed: Nomad forwards by itself, and a
    token follows nobody elsewhere.
    """

    def __init__(self, settings: NomadSettings) -> None:
        """ConfigError where a certificate cannot be used."""
        self._settings = settings
        self._identity = Identity(settings)
        self._pool = _pool(settings)
        self._below = "" if settings.address.startswith(UNIX) else urlsplit(settings.address).path

    # python-nomad's four ways to ask; `url` begins with /v1

    def get(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send("GET", url, **asked)

    def post(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send("POST", url, **asked)

    def put(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send("PUT", url, **asked)

    def delete(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send("DELETE", url, **asked)

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        silence: float | None = None,
        **_: Any,
    ) -> Answer:
        """The answer, read; with `silence` it is left to be read as it comes.

        `silence`: seconds between two of its bytes after which reading raises.
        """
        target = f"{self._below.rstrip('/')}{url}{_query(params or {})}"
        body = None if json is None else msgspec.json.encode(json)
        token = self._identity.token()
        try:
            return self._once(method, target, body, token, silence)
        except Unauthorized:
            if not self._identity.refused(token):
                raise
        return self._once(method, target, body, self._identity.token(), silence)

    def close(self) -> None:
        """Let go of every connection."""
        self._pool.close()

    def _once(
        self, method: str, target: str, body: bytes | None, token: str, silence: float | None
    ) -> Answer:
        wait = self._settings.request_timeout
        try:
            answer = self._pool.urlopen(
                method,
                target,
                body=body,
                headers={**_heads(body, silence), **self._identity.headers(token)},
                timeout=Timeout(connect=wait, read=silence or wait),
                preload_content=silence is None,
                retries=False,
                redirect=False,
            )
            if 200 <= answer.status < 300:
                return Answer(answer)
            words = answer.data.decode(errors="replace")
        except HTTPError as error:
            raise unreachable(error, self._settings.address) from error
        raise problem(answer.status, words, answer.headers)


def _heads(body: bytes | None, silence: float | None) -> dict[str, str]:
    # Compressed, an answer that is read as it comes arrives when the compressor is full.
    coding = {"Accept-Encoding": "identity" if silence else "gzip"}
    return coding if body is None else {**coding, "Content-Type": "application/json"}


def _query(params: Mapping[str, Any]) -> str:
    given = {name: value for name, value in params.items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


# -- who we are ------------------------------------------------------------------------------

_TOKEN = re.compile(r"[\x21-\x7e]*")


class Identity:
    """What stands in the head of each request."""

    def __init__(self, settings: NomadSettings) -> None:
        basic = b64encode(settings.http_auth.encode()).decode()
        self._proxy = {"Authorization": f"Basic {basic}"} if basic else {}
        self._token = Credential(
            "token",
            settings.token,
            file=settings.token_file,
            command=settings.token_command,
        )

    def token(self) -> str:
        """The token, read where it has to be; empty where there is none."""
        token = self._token.get() or ""
        if not _TOKEN.fullmatch(token):  # the client library would show it in its error
            raise ConfigError("token: it holds a space or what is not ASCII, as no token does")
        return token

    def refused(self, token: str) -> bool:
        """That token was refused: whether the next request may bear another."""
        return self._token.refused(token or None)

    def headers(self, token: str) -> dict[str, str]:
        """What a request says of us."""
        ours = {"X-Nomad-Token": token} if token else {}
        return {"User-Agent": "batchbridge", **self._proxy, **ours}


# -- whom we trust ---------------------------------------------------------------------------


def tls_context(settings: NomadSettings) -> ssl.SSLContext:
    """What a server must show, and what we show. ConfigError where a file cannot be used."""
    try:
        context = ssl.create_default_context(
            cafile=settings.ca_cert or None, capath=settings.ca_path or None
        )
        if settings.client_cert:
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"a certificate cannot be used: {error}",
            remedy="check ca_cert, ca_path, client_cert and client_key",
        ) from error
    if settings.tls_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# -- by which way we connect -----------------------------------------------------------------


def _pool(settings: NomadSettings) -> HTTPConnectionPool:
    if settings.address.startswith(UNIX):
        path = settings.address.removeprefix(UNIX)
        return _SocketPool("nomad", maxsize=CONNECTIONS, socket_path=path)
    if settings.tls_skip_verify:
        urllib3.disable_warnings(InsecureRequestWarning)  # the help of the setting warns
    at = urlsplit(settings.address)
    if at.scheme == "http":
        return HTTPConnectionPool(at.hostname or "", at.port, maxsize=CONNECTIONS)
    return HTTPSConnectionPool(
        at.hostname or "",
        at.port,
        maxsize=CONNECTIONS,
        ssl_context=tls_context(settings),
        server_hostname=settings.tls_server_name or None,
    )


class _SocketConnection(HTTPConnection):
    def __init__(self, *args: Any, socket_path: str, **named: Any) -> None:
        super().__init__(*args, **named)
        self._path = socket_path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


class _SocketPool(HTTPConnectionPool):
    """Connects to a socket of this machine, whatever host a request names."""

    ConnectionCls = _SocketConnection
