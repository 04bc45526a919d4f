"""One HTTP session for everything: who we are, whom we trust, and by which way we connect.

python-nomad names a `verify` and a `cert` of its own in each call, and neither verifies a server
nor knows a server's name or a socket; so all of that stands in the adapter, which heeds none of it.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from batchbridge.errors import ConfigError
from batchbridge.secrets import Credential
from batchbridge_nomad.settings import NomadSettings

UNIX = "unix://"


def base_url(settings: NomadSettings) -> str:
    """What stands before ``/v1``; over a socket, a host that nobody asks for."""
    return "http://nomad" if settings.address.startswith(UNIX) else settings.address.rstrip("/")


def new_session(settings: NomadSettings) -> requests.Session:
    """The session for these settings. ConfigError where a certificate cannot be read."""
    session = requests.Session()
    session.trust_env = False  # no proxy, netrc or CA bundle that the environment names
    session.max_redirects = 0  # Nomad forwards by itself; a token follows nobody elsewhere
    session.headers["User-Agent"] = "batchbridge"
    session.auth = Identity(settings)
    session.mount("http://", _adapter(settings))
    if settings.address.startswith("https://"):
        session.mount("https://", _Trusting(tls_context(settings), settings.tls_server_name))
    return session


def _adapter(settings: NomadSettings) -> HTTPAdapter:
    if settings.address.startswith(UNIX):
        return _OverSocket(settings.address.removeprefix(UNIX))
    return HTTPAdapter()


# -- who we are ------------------------------------------------------------------------------


class Identity(AuthBase):
    """Puts the token into each request, and nothing else in its place."""

    def __init__(self, settings: NomadSettings) -> None:
        self._http_auth = settings.http_auth
        self._token = Credential(
            "token",
            settings.token,
            file=settings.token_file,
            command=settings.token_command,
        )

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._token.get()
        if token:
            request.headers["X-Nomad-Token"] = token
        if self._http_auth:
            user, _, password = self._http_auth.partition(":")
            HTTPBasicAuth(user, password)(request)
        return request

    def renewed(self) -> bool:
        """The token was refused: whether the next request may bear another."""
        return self._token.refused(self._token.get())


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


class _Trusting(HTTPAdapter):
    """Connects with one TLS context, whatever a call asks for."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._tls: dict[str, Any] = {"ssl_context": context}
        if server_name:
            self._tls["server_hostname"] = server_name
        super().__init__()

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **named: Any
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **named, **self._tls)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection as the context made it."""


# -- by which way we connect -----------------------------------------------------------------


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
    ConnectionCls = _SocketConnection


class _OverSocket(HTTPAdapter):
    """Connects to a socket of this machine, whatever host a request names."""

    def __init__(self, path: str) -> None:
        self._pool = _SocketPool("nomad", maxsize=10, socket_path=path)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()
