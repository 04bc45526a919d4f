"""What armadactl's own configuration file stands for."""

from __future__ import annotations

import stat
from contextlib import closing

import pytest

from batchbridge.errors import AuthError, ConfigError, TransportError
from batchbridge_armada import ArmadaDriver, armadactl
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.access import Tokens, accepted, basic
from tests.drivers.armada.conftest import QUEUE


def configured(tmp_path, text):
    file = tmp_path / ".armadactl.yaml"
    file.write_text(text)
    return str(file)


def by_file(file, **settings):
    given = ArmadaSettings(queue=QUEUE, armadactl_config=file, **settings)
    return closing(ArmadaDriver(given))


def test_a_context_s_address_and_user(armada, tmp_path):
    """As ``_local/.armadactl.yaml`` writes it; capitals do not count, viper's do not."""
    armada.authorization = basic("u", "p")
    file = configured(
        tmp_path,
        f"""
        currentContext: Mine
        contexts:
          mine:
            armadaurl: {armada.address}
            basicAuth: {{username: u, password: p}}
          other:
            armadaUrl: localhost:1
        """,
    )
    with by_file(file) as driver:
        assert accepted(driver)
    with by_file(file, armadactl_context="other") as driver, pytest.raises(TransportError):
        accepted(driver)


def test_a_file_without_contexts(armada, tmp_path):
    file = configured(tmp_path, f"armadaUrl: {armada.address}\n")
    with by_file(file) as driver:
        assert accepted(driver)


def test_a_context_s_client(armada, tmp_path, provider):
    tokens = Tokens(provider)
    armada.token = "t1"
    client = f"{{providerUrl: '{tokens.url}', clientId: c, clientSecret: s, scopes: [a, b]}}"
    file = configured(
        tmp_path, f"armadaUrl: {armada.address}\nopenIdClientCredentialsAuth: {client}\n"
    )
    with by_file(file) as driver:
        assert accepted(driver)
    assert tokens.asked[0][1] == {"grant_type": "client_credentials", "scope": "a b"}


def test_a_context_s_user_of_a_provider(armada, tmp_path, provider):
    tokens = Tokens(provider)
    armada.token = "t1"
    user = f"{{providerUrl: '{tokens.url}', clientId: c, username: u, password: p}}"
    file = configured(tmp_path, f"armadaUrl: {armada.address}\nopenIdPasswordAuth: {user}\n")
    with by_file(file) as driver:
        assert accepted(driver)
    form = {"grant_type": "password", "username": "u", "password": "p", "client_id": "c"}
    assert tokens.asked == [("", form)]


def test_a_context_s_command_is_run_again_when_its_token_is_refused(armada, tmp_path):
    script = tmp_path / "token"
    script.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/runs\n"
        f'echo "$1$KIND$(wc -l < {tmp_path}/runs | tr -d " ")"\n'
    )
    script.chmod(stat.S_IRWXU)
    armada.token = "a-b-2"
    command = f"{{cmd: {script}, args: [a-], env: [{{name: KIND, value: b-}}]}}"
    file = configured(tmp_path, f"armadaUrl: {armada.address}\nexecAuth: {command}\n")
    with by_file(file) as driver:
        assert accepted(driver)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("currentContext: b\ncontexts: {a: {}}", "has no context 'b'"),
        ("currentContext: a\ncontexts: [a, b]", "contexts is no mapping"),
        ("currentContext: a\ncontexts: {a: null}", "contexts.a is no mapping"),
        ("openIdAuth: {providerUrl: x}", "openidauth is not supported"),
        ("openIdDeviceAuth: {providerUrl: x}", "openiddeviceauth is not supported"),
        ("kerberosAuth: {enabled: true}", "kerberosauth is not supported"),
        ("kubernetesNativeAuth: {enabled: true}", "kubernetesnativeauth is not supported"),
        ("basicAuth: {username: [1]}", "basicauth.username"),
        (
            r'basicAuth: {username: u, password: "\uDCE4"}',
            "basicAuth.password holds what is not UTF-8",
        ),
        ("armadaUrl: nowhere", "is not host:port"),
        ("- 1", "is no configuration of armadactl"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_does_not_serve(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))


@pytest.mark.parametrize("path", ["/no/such/file", "~no-such-user/file"])
def test_a_file_that_is_not_there(path):
    with pytest.raises(ConfigError, match=f"{path} cannot be read"):
        armadactl.login(ArmadaSettings(armadactl_config=path))


@pytest.mark.parametrize(
    ("forced", "expected"), [("true", "off"), ("false", "auto")], ids=["forced", "not forced"]
)
def test_only_a_file_that_says_so_leaves_tls_out(tmp_path, forced, expected):
    text = f"armadaUrl: dns:///armada.example:443\nforceNoTls: {forced}\n"
    settings, source = armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))
    assert (settings.address, settings.tls, source) == ("armada.example:443", expected, None)


def test_what_a_command_prints_must_be_text(tmp_path):
    text = r"execAuth: {cmd: printf, args: ['\344']}"
    _, source = armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))
    with pytest.raises(AuthError, match="is not UTF-8"):
        source.get()


def test_a_command_s_variables_are_in_no_error(tmp_path):
    text = "execAuth: {cmd: 'false', env: [{name: A, value: hidden}]}"
    _, source = armadactl.login(ArmadaSettings(armadactl_config=configured(tmp_path, text)))
    with pytest.raises(AuthError, match="ended with 1") as caught:
        source.get()
    assert "hidden" not in str(caught.value)
