"""One HTTP session for everything: who we are, whom we trust, and by which way we connect.

It stands in python-nomad where requests' would, which names a `verify` and a `cert` in each call
that verify nothing, and knows neither a server's name nor a socket. Here all of that is the pool's,
and nothing else is heeded: no proxy, netrc or bundle of certificates that the environment names.
"""

from __future__ import annotations

import math
import random
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import pycurl

from batchbridge.errors import BatchBridgeError, ConfigError, RateLimited, TransportError
from batchbridge.secrets import Credential
from batchbridge_nomad.replies import Unauthorized, astray, is_page, problem, unreachable
from batchbridge_nomad.settings import NomadSettings
from batchbridge_nomad.steps import Steps, alone, together
from batchbridge_nomad.transfer import Broken, Connections, Options, Reply
from batchbridge_nomad.trust import trust

T = TypeVar("T")

UNIX = "unix://"

CROWDED = 5.0
"""Seconds that a request waits for Nomad to allow it a connection, ..."""

REST = (0.2, 1.0)
"""... and those between two tries, at random, so that many do not try in step."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Nomad answered, as python-nomad reads it; what is not `ok` was raised instead."""

    data: bytes
    head: tuple[bytes, ...]
    ok: ClassVar[bool] = True

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by their names in small letters."""
        return headers(self.head)

    def json(self) -> Any:
        """Its value; TransportError if it has none, but is a proxy's page, say."""
        try:
            return msgspec.json.decode(self.data)
        except msgspec.MsgspecError as error:
            raise TransportError(f"this is no answer of Nomad's: {error}") from error


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not sent yet. To python-nomad it is its own answer, handed out as it is."""

    method: str
    url: str
    params: Mapping[str, Any]
    body: bytes | None
    ok: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        **_: Any,
    ) -> Self:
        """That which python-nomad asks for; ours is what it says of trust and time."""
        body = None if json is None else msgspec.json.encode(json)
        return cls(method, url, params or {}, body)

    def json(self) -> Self:
        """Itself."""
        return self


class Unsent:
    """Stands in python-nomad where a session does, and sends nothing: it gives the request."""

    get = staticmethod(partial(Request.of, "GET"))
    post = staticmethod(partial(Request.of, "POST"))
    put = staticmethod(partial(Request.of, "PUT"))
    delete = staticmethod(partial(Request.of, "DELETE"))


class Session:
    """Requests to one address, as one identity. Safe from several threads.

    After a refusal a request is sent once more, where the token may be another by then. They raise
    errors of :mod:`batchbridge.errors`. No redirect is followed: Nomad forwards by itself, and a
    token follows nobody elsewhere.
    """

    def __init__(self, settings: NomadSettings) -> None:
        """ConfigError where a certificate cannot be used."""
        self._settings = settings
        self._identity = Identity(settings)
        self._base = base(settings)
        self._connections = Connections({**_WAYS, **way(settings), **trust(settings)})

    # python-nomad's four ways to ask; `url` begins with /v1

    def get(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send(Request.of("GET", url, **asked))

    def post(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send(Request.of("POST", url, **asked))

    def put(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send(Request.of("PUT", url, **asked))

    def delete(self, url: str, **asked: Any) -> Answer:
        """See :meth:`send`."""
        return self.send(Request.of("DELETE", url, **asked))

    def send(self, request: Request) -> Answer:
        """The answer, read."""
        return alone(self._answered(request))

    def send_all(
        self, requests: Iterable[tuple[T, Request]], *, at_once: int
    ) -> Iterator[tuple[T, Answer | BatchBridgeError]]:
        """The answers to many, as they come: each with what stood beside its request.

        At most so many are under way at once, and the next is only asked for when it may go.
        """
        steps = ((mark, self._answered(request)) for mark, request in requests)
        return together(steps, at_once=at_once)

    def open(
        self, url: str, params: Mapping[str, Any], *, silence: float, breakable: bool = False
    ) -> Reply:
        """The answer to a GET, to be read as it comes; what that raises is libcurl's.

        `silence`: seconds between two of its bytes after which reading raises. `breakable`: another
        thread may shut it down.
        """
        asked = {**self._target(url, params), **_method("GET", None), **_PLAIN}
        return alone(self._reply(asked, silence, breakable=breakable))

    def close(self) -> None:
        """Let go of every connection."""
        self._connections.close()

    def _answered(self, request: Request) -> Steps[Answer]:
        """The answer, read."""
        how = _method(request.method, request.body)
        asked = {**self._target(request.url, request.params), **how}
        with closing((yield from self._reply(asked, self._settings.request_timeout))) as reply:
            try:
                answer = Answer(reply.read(), reply.head)
            except Broken as error:
                raise unreachable(error, self._settings.address) from error
        if is_page(answer.data):
            raise astray(self._settings.address)
        return answer

    def _reply(self, asked: Options, silence: float, *, breakable: bool = False) -> Steps[Reply]:
        """The answer, once Nomad allows a connection: one too many is refused unheard.

        What shall be breakable raises at once, as nobody could break off that wait.
        """
        deadline = time.monotonic() + CROWDED
        while True:
            try:
                return (yield from self._as_somebody(asked, silence, breakable=breakable))
            except RateLimited as error:
                self._connections.thin_out()
                rest = max(error.retry_after, random.uniform(*REST))
                if breakable or time.monotonic() + rest > deadline:
                    raise
            yield rest

    def _as_somebody(self, asked: Options, silence: float, *, breakable: bool) -> Steps[Reply]:
        """The answer; where the token is refused, that to another one."""
        token = self._identity.token()
        try:
            return (yield from self._once(asked, token, silence, breakable=breakable))
        except Unauthorized:
            if not self._identity.refused(token):
                raise
        token = self._identity.token()
        return (yield from self._once(asked, token, silence, breakable=breakable))

    def _once(self, asked: Options, token: str, silence: float, *, breakable: bool) -> Steps[Reply]:
        heads = {pycurl.HTTPHEADER: [*_HEADERS, *self._identity.headers(token)]}
        reply = self._connections.request({**asked, **heads}, silence=silence, breakable=breakable)
        try:
            yield reply
            reply.read_head()
            if not 200 <= reply.status < 300:
                words = reply.read().decode(errors="replace")
                raise problem(reply.status, words, headers(reply.head))
        except BaseException as error:
            reply.close()
            if isinstance(error, Broken):
                raise unreachable(error, self._settings.address) from error
            raise
        return reply

    def _target(self, url: str, params: Mapping[str, Any]) -> Options:
        return {pycurl.URL: f"{self._base}{url}{_query(params)}"}


def headers(head: tuple[bytes, ...]) -> dict[str, str]:
    """The headers of an answer's head, by their names in small letters."""
    split = (line.decode("latin-1").partition(":") for line in head)
    return {name.strip().lower(): value.strip() for name, colon, value in split if colon}


_HEADERS = ("Content-Type: application/json", "Expect:")
"""The second: a body is sent at once, without asking whether it is wanted."""

_COMPRESSED: Options = {pycurl.ACCEPT_ENCODING: "gzip"}

# Nomad makes a compressor for each answer that may be compressed, which costs it four times the CPU
# of registering a job; and what is read as it comes arrives when the compressor is full.
_PLAIN: Options = {pycurl.ACCEPT_ENCODING: "identity"}


def _method(method: str, body: bytes | None) -> Options:
    """What is read may be long, what answers a change is short."""
    if body is not None:
        return {pycurl.POSTFIELDS: body, pycurl.CUSTOMREQUEST: method, **_PLAIN}
    encoding = _COMPRESSED if method == "GET" else _PLAIN
    return {pycurl.HTTPGET: 1, pycurl.CUSTOMREQUEST: method, **encoding}


def _query(params: Mapping[str, Any]) -> str:
    given = {name: value for name, value in params.items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


# -- who we are ------------------------------------------------------------------------------

_TOKEN = re.compile(r"[\x21-\x7e]*")


class Identity:
    """What stands in the head of each request."""

    def __init__(self, settings: NomadSettings) -> None:
        basic = b64encode(settings.http_auth.encode()).decode()
        self._proxy = [f"Authorization: Basic {basic}"] if basic else []
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

    def headers(self, token: str) -> list[str]:
        """What a request says of us."""
        return [*self._proxy, *([f"X-Nomad-Token: {token}"] if token else ())]


# -- by which way we connect -----------------------------------------------------------------

_WAYS: Options = {
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    pycurl.PROXY: "",
    pycurl.NOPROXY: "*",
    pycurl.PATH_AS_IS: 1,
    pycurl.USERAGENT: "batchbridge",
}


def base(settings: NomadSettings) -> str:
    """What stands before ``/v1`` of every request."""
    if settings.address.startswith(UNIX):
        return "http://nomad"
    at = urlsplit(settings.address)
    host = settings.tls_server_name if _named_otherwise(settings) else _host(settings)
    return f"{at.scheme}://{host}:{_port(settings)}{at.path.rstrip('/')}"


def way(settings: NomadSettings) -> Options:
    """How the server is reached."""
    limit = {pycurl.CONNECTTIMEOUT_MS: math.ceil(settings.request_timeout * 1000)}
    if settings.address.startswith(UNIX):
        return {**limit, pycurl.UNIX_SOCKET_PATH: settings.address.removeprefix(UNIX)}
    if _named_otherwise(settings):
        # Asked for by the name that its certificate has, looked for where it is.
        port = _port(settings)
        there = f"{settings.tls_server_name}:{port}:{_host(settings)}:{port}"
        return {**limit, pycurl.CONNECT_TO: [there]}
    return limit


def _named_otherwise(settings: NomadSettings) -> bool:
    return settings.address.startswith("https://") and bool(settings.tls_server_name)


def _host(settings: NomadSettings) -> str:
    host = urlsplit(settings.address).hostname or ""
    return f"[{host}]" if ":" in host else host


def _port(settings: NomadSettings) -> int:
    at = urlsplit(settings.address)
    return at.port or {"https": 443}.get(at.scheme, 80)
