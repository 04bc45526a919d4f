"""An OpenID Connect provider whose tokens Armada's server can verify."""

from __future__ import annotations

import json
import time
from base64 import b64encode, urlsafe_b64encode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pytest_httpserver import HTTPServer
from werkzeug import Response

AUDIENCE = "armada"


class Issuer:
    """Signs tokens, and gives them to the clients whose secrets it knows."""

    def __init__(self, server: HTTPServer, clients: dict[str, str]) -> None:
        self.url = server.url_for("/realm")
        self._clients = clients
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        found = {
            "issuer": self.url,
            "authorization_endpoint": server.url_for("/authorize"),
            "token_endpoint": server.url_for("/token"),
            "jwks_uri": server.url_for("/keys"),
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        discovery = "/realm/.well-known/openid-configuration"
        server.expect_request(discovery).respond_with_json(found)
        server.expect_request("/keys").respond_with_json({"keys": [self._public()]})
        server.expect_request("/token", method="POST").respond_with_handler(self._give)

    def token(self, subject: str, *, lifetime: float = 3600.0) -> str:
        """A token for that user, good for so many seconds."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": subject, "aud": AUDIENCE, "iat": now}
        words = [{"alg": "RS256", "kid": "k"}, {**claims, "exp": now + lifetime}]
        signed = ".".join(_base64(json.dumps(one).encode()) for one in words)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def _give(self, request) -> Response:
        asked = request.headers.get("Authorization", "")
        for name, secret in self._clients.items():
            if asked == f"Basic {b64encode(f'{name}:{secret}'.encode()).decode()}":
                told = {"access_token": self.token(name), "expires_in": 3600}
                return Response(json.dumps(told), content_type="application/json")
        return Response('{"error": "invalid_client"}', status=401)

    def _public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        told = {"n": numbers.n, "e": numbers.e}
        parts = {k: _base64(v.to_bytes((v.bit_length() + 7) // 8)) for k, v in told.items()}
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", **parts}


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
