"""Drivers of a server that asks who they are, and a provider that tells it."""

from __future__ import annotations

from base64 import b64encode
from contextlib import closing

from werkzeug import Response

from batchbridge_armada import ArmadaDriver
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.conftest import QUEUE
from tests.drivers.armada.helpers import submission, submit

DISCOVERY = "/realm/.well-known/openid-configuration"


def reached(armada, **settings):
    """A driver of that server, closed by the test's end."""
    return closing(ArmadaDriver(ArmadaSettings(address=armada.address, queue=QUEUE, **settings)))


def accepted(driver, key="k"):
    """Whether a job is taken."""
    (receipt,) = submit(driver, submission(key))
    return receipt.id is not None


def basic(user, password):
    return f"basic {b64encode(f'{user}:{password}'.encode()).decode()}"


class Tokens:
    """A token endpoint: what it was asked, and the tokens t1, t2, … that it gives."""

    def __init__(self, provider, *, methods=None, expires=3600):
        self.asked = []
        self._expires = expires
        found = {"token_endpoint": provider.url_for("/token")}
        if methods:
            found["token_endpoint_auth_methods_supported"] = methods
        provider.expect_request(DISCOVERY).respond_with_json(found)
        provider.expect_request("/token", method="POST").respond_with_handler(self._give)
        self.url = provider.url_for("/realm")

    def _give(self, request):
        self.asked.append((request.headers.get("Authorization", ""), request.form.to_dict()))
        token = f'{{"access_token": "t{len(self.asked)}", "expires_in": {self._expires}}}'
        return Response(token, content_type="application/json")
