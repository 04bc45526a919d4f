"""Who may ask a real Armada, and over what: its own server with users, a provider, and TLS."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from pytest_httpserver import HTTPServer

from batchbridge import Client
from batchbridge.errors import AuthError, TransportError
from batchbridge.model import JobState
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.protocol import submit_pb2, submit_pb2_grpc
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.access import basic
from tests.drivers.armada.certificates import Authority
from tests.drivers.armada.helpers import submission, submit
from tests.drivers.armada.issuer import Issuer
from tests.drivers.armada.live.conftest import MODEST
from tests.drivers.armada.live.doors import doorman, guarded

ROBOT = {"robot": "r2"}
VERBS = ["submit", "cancel", "watch", "preempt", "reprioritize"]


@dataclass(frozen=True)
class Guarded:
    """A server that asks who comes, the provider that it trusts, and a queue of the robot's."""

    address: str
    issuer: Issuer
    queue: str

    def settings(self, **given):
        return ArmadaSettings(address=self.address, queue=self.queue, **given)

    def accepted(self, **given):
        """Whether a job is taken from whoever that is; it is cancelled."""
        with closing(ArmadaDriver(self.settings(**given))) as driver:
            return taken(driver)


def taken(driver):
    (receipt,) = submit(driver, submission(uuid4().hex))
    if receipt.error:
        raise receipt.error
    driver.cancel_set(driver.scope_of(submission()), job_set="set", reason="the test is over")
    return receipt.id is not None


@pytest.fixture(scope="module")
def issuer():
    server = HTTPServer(host="127.0.0.1")
    server.start()
    yield Issuer(server, ROBOT)
    server.stop()


@pytest.fixture(scope="module")
def there(state, issuer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    with guarded(state, folder, issuer, None) as address:
        queue = f"guarded-{uuid4().hex[:8]}"
        make_queue(address, queue)
        yield Guarded(address, issuer, queue)


def make_queue(address, name):
    """As ada. The robot may do all there, the courier may only submit."""
    rights = [right("robot", VERBS), right("courier", ["submit"])]
    queue = submit_pb2.Queue(name=name, priority_factor=1, permissions=rights)
    with grpc.insecure_channel(address) as channel:
        who = (("authorization", basic("ada", "a")),)
        submit_pb2_grpc.QueueServiceStub(channel).CreateQueue(queue, metadata=who)


def right(name, verbs):
    subject = submit_pb2.Queue.Permissions.Subject(kind="User", name=name)
    return submit_pb2.Queue.Permissions(subjects=[subject], verbs=verbs)


@pytest.fixture
def token_file(tmp_path):
    return tmp_path / "token"


# -- who -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["password", "password_file"])
def test_a_user_and_a_password(there, tmp_path, where):
    (tmp_path / "password").write_text("a\n")
    given = "a" if where == "password" else str(tmp_path / "password")
    assert there.accepted(username="ada", **{where: given})


def test_armadactl_s_file_says_where_and_who(there, tmp_path):
    file = tmp_path / "armadactl.yaml"
    file.write_text(
        "currentContext: here\n"
        f"contexts: {{here: {{armadaUrl: '{there.address}', forceNoTls: true,"
        " basicAuth: {username: ada, password: a}}}\n"
    )
    given = ArmadaSettings(queue=there.queue, armadactl_config=str(file))
    with closing(ArmadaDriver(given)) as driver:
        assert taken(driver)


@pytest.mark.parametrize("given", [{}, {"username": "ada", "password": "no"}, {"token": "no"}])
def test_who_is_not_known_is_told_so(there, given):
    with pytest.raises(AuthError, match="Armada refused the credential: ") as caught:
        there.accepted(**given)
    assert "check what says who you are" in caught.value.remedy


def test_no_right_on_the_queue_is_told_in_armada_s_words(there):
    with pytest.raises(AuthError) as caught:
        there.accepted(username="bob", password="b")
    assert f"user bob cannot perform action submit on queue {there.queue}" in str(caught.value)
    assert "ask for the right on the queue" in caught.value.remedy


def test_who_may_only_submit_learns_the_end_but_cancels_nothing(there):
    """Armada's queries are anybody's; its stream is not."""
    settings = there.settings(token=there.issuer.token("courier"))
    with Client(driver=ArmadaDriver(settings), journal=False) as client:
        job = client.submit("true", **MODEST, job_set=f"live-{uuid4().hex}")
        assert job.result(timeout=120).state is JobState.SUCCEEDED
        with pytest.raises(AuthError, match="courier cannot perform action cancel on queue"):
            client.driver.cancel([job.ref], reason="not allowed")
        with pytest.raises(AuthError, match="courier cannot perform action watch on queue"):
            client.list(job.job_set)


def test_a_job_is_followed_to_its_end_with_a_token(there):
    settings = there.settings(token=there.issuer.token("robot"))
    with Client(driver=ArmadaDriver(settings), journal=False) as client:
        job = client.submit("true", **MODEST, job_set=f"live-{uuid4().hex}")
        assert job.result(timeout=120).state is JobState.SUCCEEDED


def test_a_token_file_is_read_again_when_its_token_is_over(there, token_file):
    token_file.write_text(there.issuer.token("robot", lifetime=3))
    over = time.time() + 4
    with closing(ArmadaDriver(there.settings(token_file=str(token_file)))) as driver:
        assert taken(driver)
        token_file.write_text(there.issuer.token("robot"))
        while time.time() < over:
            time.sleep(0.1)
        assert taken(driver)


def test_a_token_that_is_over_is_refused_in_armada_s_words(there):
    with pytest.raises(AuthError, match="token is expired"):
        there.accepted(token=there.issuer.token("robot", lifetime=-60))


def test_a_command_prints_the_token(there, token_file):
    token_file.write_text(there.issuer.token("robot"))
    assert there.accepted(token_command=f"cat {token_file}")


def test_a_client_s_credentials_are_its_grant(there):
    (name, secret), *_ = ROBOT.items()
    given = {"oidc_provider": there.issuer.url, "oidc_client_id": name}
    assert there.accepted(**given, oidc_client_secret=secret)
    with pytest.raises(AuthError, match="invalid_client"):
        there.accepted(**given, oidc_client_secret="wrong")


# -- over what -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(state, issuer, authority, there, tmp_path_factory):
    """The same, over TLS; its certificate has another name than its address."""
    pair = authority.sign("server", "armada.test")
    folder = tmp_path_factory.mktemp("encrypted")
    with guarded(state, folder, issuer, pair) as address:
        yield Guarded(address, issuer, there.queue)


def over_tls(authority, **given):
    return {"tls": "on", "ca_cert": str(authority.cert), **given}


def test_a_server_s_own_certificate(encrypted, authority):
    given = over_tls(authority, username="ada", password="a", tls_server_name="armada.test")
    with Client(driver=ArmadaDriver(encrypted.settings(**given)), journal=False) as client:
        job = client.submit("true", **MODEST, job_set=f"live-{uuid4().hex}")
        assert job.result(timeout=120).state is JobState.SUCCEEDED


@pytest.mark.parametrize("wrong", [{"ca_cert": ""}, {"tls_server_name": "other.test"}])
def test_a_certificate_that_is_not_to_be_trusted(encrypted, authority, wrong):
    given = {"tls_server_name": "armada.test", "username": "ada", "password": "a", **wrong}
    with pytest.raises(AuthError, match="no trusted connection to Armada at localhost") as caught:
        encrypted.accepted(**over_tls(authority, **given))
    assert "ca_cert" in caught.value.remedy


def test_a_proxy_that_wants_a_certificate(stack, authority):
    """Armada's server asks for none itself."""
    pair, ours = authority.sign("proxy", "localhost"), authority.sign("us")
    with doorman(stack.address, pair, authority.cert) as address:
        known = Guarded(address, None, stack.queue)
        certificate = {"client_cert": str(ours.cert), "client_key": str(ours.key)}
        settings = known.settings(**over_tls(authority, **certificate))
        with Client(driver=ArmadaDriver(settings), journal=False) as client:
            job = client.submit("true", **MODEST, job_set=f"live-{uuid4().hex}")
            assert job.result(timeout=120).state is JobState.SUCCEEDED
        with pytest.raises(TransportError) as caught:  # TLS 1.3 has the proxy hang up, no more
            known.accepted(**over_tls(authority))
        assert "client_cert" in caught.value.remedy
