"""Tokens from an OpenID Connect provider, for a program: its own credentials are the grant.

That is one GET and one POST (OpenID Connect Discovery, RFC 6749 section 4.4), which the standard
library does; no library is needed for it.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import Request, urlopen

from batchbridge.errors import AuthError, ConfigError, TransportError
from batchbridge.secrets import Credential
from batchbridge_armada.channel import HERE
from batchbridge_armada.fetched import Fetched, Token
from batchbridge_armada.files import UNREADABLE, unreadable
from batchbridge_armada.settings import ArmadaSettings

DISCOVERY = "/.well-known/openid-configuration"


def client_credentials(settings: ArmadaSettings) -> Fetched:
    """The tokens that the configured client is given."""
    secret = Credential(
        "oidc_client_secret",
        settings.oidc_client_secret,
        file=settings.oidc_client_secret_file,
    )
    return Fetched(lambda: _asked(settings, {"grant_type": "client_credentials"}, secret))


def password_grant(settings: ArmadaSettings, username: str, password: str) -> Fetched:
    """The tokens that a user is given; for providers that still allow it."""
    grant = {"grant_type": "password", "username": username, "password": password}
    return Fetched(lambda: _asked(settings, grant, None))


def _asked(settings: ArmadaSettings, grant: Mapping[str, str], secret: Credential | None) -> Token:
    found = _call(settings, _discovery(settings.oidc_provider))
    endpoint = found.get("token_endpoint")
    if not isinstance(endpoint, str):
        raise ConfigError(f"{settings.oidc_provider} names no token_endpoint")
    form = {**grant, **({"scope": settings.oidc_scopes} if settings.oidc_scopes else {})}
    methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    request = _request(settings, endpoint, form, secret, basic="client_secret_basic" in methods)
    answer = _call(settings, request)
    token, lifetime = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str):
        raise AuthError(f"{endpoint} gave no access_token")
    return Token(token, float(lifetime) if isinstance(lifetime, int | float) else None)


def _discovery(provider: str) -> Request:
    return Request(_trusted(provider.rstrip("/") + DISCOVERY))


def _request(
    settings: ArmadaSettings,
    endpoint: str,
    form: Mapping[str, str],
    secret: Credential | None,
    *,
    basic: bool,
) -> Request:
    """The POST for a token; the client says who it is in a header, or beside the grant."""
    client, value = settings.oidc_client_id, secret.get() if secret else None
    if value is not None and basic:
        pair = f"{quote_plus(client)}:{quote_plus(value)}".encode()
        headers = {"Authorization": f"Basic {b64encode(pair).decode()}"}
    else:
        headers = {}
        form = {**form, "client_id": client, **({"client_secret": value} if value else {})}
    return Request(_trusted(endpoint), urlencode(form).encode(), headers)


def _trusted(url: str) -> str:
    """The address, to which secrets go. ConfigError where anybody in between would read them."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _no_address(url, error) from error
    here = parts.hostname in HERE or parts.hostname == "::1"
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ConfigError(
            f"{url} is not https, and secrets would go there", remedy="set an https oidc_provider"
        )
    return url


def _call(settings: ArmadaSettings, request: Request) -> Mapping[str, Any]:
    """The JSON object that is answered."""
    context = _context(settings.ca_cert)
    try:
        answer = _answer(request, context, settings.request_timeout)
    except InvalidURL as error:
        raise _no_address(request.full_url, error) from error
    except (HTTPException, OSError, ValueError) as error:
        raise TransportError(
            f"no token from {request.full_url}: {error}", remedy="check oidc_provider and ca_cert"
        ) from error
    if not isinstance(answer, Mapping):
        raise ConfigError(f"{request.full_url} is no OpenID Connect provider")
    return answer


def _context(ca_cert: str) -> ssl.SSLContext:
    """Who is trusted: the system's authorities, and those of that file beside them."""
    context = ssl.create_default_context()
    if ca_cert:
        try:
            context.load_verify_locations(Path(ca_cert).expanduser())
        except UNREADABLE as error:
            remedy = "name a file with the CA's certificates, as PEM"
            raise unreadable("ca_cert", ca_cert, error, remedy) from error
    return context


def _answer(request: Request, context: ssl.SSLContext, timeout: float) -> Any:
    try:
        with urlopen(request, timeout=timeout, context=context) as reply:
            return json.load(reply)
    except HTTPError as error:
        raise _refusal(request, error) from error


def _no_address(url: str, error: Exception) -> ConfigError:
    return ConfigError(f"{url} is no address: {error}", remedy="check oidc_provider")


def _refusal(request: Request, error: HTTPError) -> AuthError | TransportError | ConfigError:
    words = error.read(1000).decode(errors="replace").strip()
    said = f"{request.full_url} answers {error.code}: {words}"
    if error.code >= 500:
        return TransportError(said)
    if request.data is None:
        return ConfigError(said, remedy="check oidc_provider: its issuer's address")
    return AuthError(said, remedy="check oidc_client_id, oidc_client_secret and oidc_scopes")
