"""What a stranger's checkout, or a stranger's reference, can make of our credentials: nothing."""

from __future__ import annotations

import re

import pytest

from batchbridge.errors import ConfigError, DriverNotFound
from batchbridge.model import JobRef, JobSpec
from tests.core.engine import DEFAULT_ADDRESS

MINE = """
default_profile = "prod"
[profile.prod]
backend = "eng"
address = "https://prod:1"
token = "sesame"
namespace = "mine"
ca_file = "/ca"
[profile.prod.job]
secrets = {DB = "env:DB"}
[profile.eng]
token_command = "pass show eng"
"""

EVIL = "http://evil.example:4646"

ATTACKS = {
    "address of a known profile": f'[profile.prod]\naddress = "{EVIL}"',
    "address of the logs": f'[profile.prod]\nlogs_address = "{EVIL}"',
    "address of a bare backend": f'[profile.eng]\naddress = "{EVIL}"',
    "a new profile, to take the engine's own variables":
    f'default_profile = "x"\n[profile.x]\nbackend = "eng"\naddress = "{EVIL}"',
    "a dotted key": f'default_profile = "prod"\nprofile.prod.address = "{EVIL}"',
    "an inline table": f'profile = {{prod = {{address = "{EVIL}"}}}}',
    "a token": '[profile.prod]\ntoken = "evil"',
    "a token's file": '[profile.prod]\ntoken_file = "/home/me/.ssh/id_rsa"',
    "a token's command": '[profile.prod]\ntoken_command = "touch /tmp/owned"',
    "certificates unchecked": "[profile.prod]\nverify = false",
    "certificates of its own": '[profile.prod]\nca_file = "evil.pem"',
    "another backend for a known profile": '[profile.prod]\nbackend = "local"',
    "where uploads go": 'store = "s3://evil/x"',
    "where a profile's uploads go": '[profile.prod]\nstore = "s3://evil/x"',
    "what is preloaded": '[job.env]\nLD_PRELOAD = "./evil.so"',
    "what is preloaded in a profile": '[profile.prod.job.env]\nLD_PRELOAD = "./evil.so"',
    "a secret's command": '[job.secrets]\nX = "command:touch /tmp/owned"',
    "a secret's file": '[job.secrets]\nX = "file:~/.ssh/id_rsa"',
    "a secret of the environment": '[profile.prod.job.secrets]\nX = "env:AWS_SECRET_ACCESS_KEY"',
    "the image": '[job]\nimage = "evil/python"',
    "the directory": '[job]\nworkdir = "evil"',
    "files that travel": '[job]\nupload = ["/home/me/.ssh"]',
    "runs twice": "[job]\nreruns = true",
    "the command": '[job]\ncommand = "touch /tmp/owned"',
    "what runs it": '[profile.prod.options]\nrunner = "exec"',
    "its own trust": 'trusted = ["/"]',
    "a lock": 'locked = ["default_profile"]\ndefault_profile = "prod"',
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_checkout_can_neither_redirect_credentials_nor_run_a_command(place, attack):
    place.user(MINE)
    place.project(ATTACKS[attack])
    refusals = []
    for profile in ("prod", "eng", None):
        try:
            resolved = place.config({"ENG_TOKEN": "sesame"}).resolve(profile)
            assert not [o for o in resolved.origins.values() if o.kind == "project"]
        except ConfigError as error:
            refusals.append(str(error))
    assert refusals
    assert all(re.search(r"batchbridge\.toml:\d+: ", refusal) for refusal in refusals)


@pytest.mark.parametrize("profile", [EVIL, "evil.example:4646", "prod/../x", "../x"])
def test_a_checkout_can_choose_no_profile_that_is_an_address(place, profile):
    place.user(MINE)
    place.project(f'default_profile = "{profile}"')
    with pytest.raises(ConfigError, match="no profile"):
        place.config().resolve()


def test_a_checkout_may_choose_a_profile_and_what_is_inert(place):
    place.user(MINE)
    place.project(
        """
        default_profile = "mine"
        [job]
        cpu = 2
        memory = "1G"
        timeout = "1h"
        labels = {team = "x"}
        [profile.mine]
        backend = "eng"
        [profile.prod]
        namespace = "theirs"
        [profile.prod.options]
        priority = 70
        """
    )
    config = place.config({"ENG_TOKEN": "sesame"})
    assert config.resolve().settings.address == DEFAULT_ADDRESS
    prod = config.resolve("prod")
    assert (prod.settings.address, prod.settings.namespace) == ("https://prod:1", "theirs")
    spec = JobSpec.parse(prod.spec({"command": ["true"]}))
    assert (spec.cpu, spec.memory, spec.options) == (2.0, 1 << 30, {"priority": 70})


def test_the_refusal_says_how_to_trust_ones_own_project(place):
    place.project(f'[profile.eng]\naddress = "{EVIL}"')
    with pytest.raises(ConfigError) as error:
        place.config().resolve("eng")
    line = f'trusted = ["{place.checkout}"]'
    assert line in error.value.remedy
    place.user(line)
    assert place.config().resolve("eng").settings.address == EVIL


def test_trust_covers_the_directories_beneath_and_no_neighbour(place):
    place.user(f'trusted = ["{place.root / "check"}"]')
    place.project('store = "s3://evil/x"')
    with pytest.raises(ConfigError, match="not for a project's file"):
        place.config()
    place.user(f'trusted = ["{place.root}"]')
    assert place.config().resolve("eng").store == "s3://evil/x"


def test_trust_follows_the_file_and_not_the_link_that_leads_to_it(place):
    outside = place.root / "evil.toml"
    outside.write_text('store = "s3://evil/x"')
    place.project_file.symlink_to(outside)
    place.user(f'trusted = ["{place.checkout}"]')
    with pytest.raises(ConfigError, match="not for a project's file"):
        place.config()


def test_even_a_trusted_project_does_not_override_what_the_site_locks(place):
    place.site('locked = ["store"]\nstore = "s3://site/x"')
    place.user(f'trusted = ["{place.checkout}"]')
    place.project('store = "s3://other/x"')
    with pytest.raises(ConfigError, match="store is locked"):
        place.config().resolve("eng")


@pytest.mark.parametrize(
    "text",
    [
        '"\\u001b]0;x\\u0007" = 1',
        '[profile."\\u001b[31m"]\nbackend = "eng"',
        '[job]\n"\\u001b[31m" = 1',
        '[profile.eng]\n"\\u001b[31m" = 1',
        '[profile.eng]\nbackend = "\\u001b[31m"',
        'default_profile = "\\u001b[31m"',
    ],
)
def test_a_file_cannot_write_control_characters_to_the_terminal(place, text):
    place.project(text)
    with pytest.raises(ConfigError) as error:
        place.config().resolve(None if text.startswith("default") else "eng")
    assert (str(error.value) + error.value.remedy).isprintable()


def test_a_value_cannot_write_control_characters_to_the_terminal(place):
    place.project('[profile.eng]\nnamespace = "\\u001b[31m"')
    shown = {name: value for name, value, _ in place.config().resolve("eng").shown()}
    assert shown["namespace"] == "'\\x1b[31m'"


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 100_000])
def test_a_file_that_defeats_the_parser_is_refused(place, text):
    place.project_file.write_text(text)
    with pytest.raises(ConfigError, match=r"batchbridge\.toml.*: this is not TOML"):
        place.config()


def test_lines_that_defeat_the_parser_alone_are_passed_over(place):
    place.project("x = '''\n" + "[" * 100_000 + "\n'''")
    with pytest.raises(ConfigError, match=r"batchbridge\.toml:1: x is not known"):
        place.config()


# -- addresses given ad hoc ------------------------------------------------------------------

ENV = {"ENG_TOKEN": "sesame", "ENG_NAMESPACE": "mine", "BATCHBRIDGE_ENG_CA_FILE": "/ca"}


@pytest.mark.parametrize("profile", ["eng", "prod"])
def test_what_is_configured_for_one_address_does_not_follow_to_another(place, profile):
    place.user(MINE)
    resolved = place.config(ENV).resolve(profile, {"address": EVIL})
    settings = resolved.settings
    assert settings.address == resolved.ref_profile == EVIL
    assert (settings.token, settings.token_file, settings.token_command) == (None, None, None)
    assert settings.ca_file is None
    assert settings.namespace == "mine"
    assert "ca_file" in resolved.withheld
    assert set(resolved.withheld) & {"token", "token_command"}
    assert "secrets" not in resolved.job
    assert ("job.secrets" in resolved.withheld) == (profile == "prod")


def test_what_is_given_together_with_an_address_goes_there(place):
    place.user(MINE)
    settings = place.config(ENV).resolve("prod", {"address": EVIL, "token": "mine"}).settings
    assert (settings.address, settings.token) == (EVIL, "mine")


@pytest.mark.parametrize("address", ["https://prod:1", "https://prod:1/"])
def test_the_configured_address_given_again_is_not_another(place, address):
    place.user(MINE)
    resolved = place.config().resolve("prod", {"address": address})
    assert (resolved.settings.token, resolved.ref_profile) == ("sesame", "prod")
    assert not resolved.withheld


def test_moving_only_the_logs_keeps_the_engine_and_withholds_credentials(place):
    place.user(MINE)
    resolved = place.config().resolve("prod", {"logs_address": EVIL})
    assert resolved.settings.address == "https://prod:1"
    assert resolved.settings.token is None
    assert resolved.ref_profile == "prod"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://me:sesame@x:1", "may hold no user and no password"),
        ("evil", "'evil' reads as a profile's name"),
    ],
)
def test_an_address_that_no_reference_can_hold_is_refused(place, address, message):
    with pytest.raises(ConfigError, match=message) as error:
        place.config().resolve("eng", {"address": address})
    assert "sesame" not in str(error.value)


@pytest.mark.parametrize("address", ["http://me:sesame@x:1", "me:sesame@x:1", "http://me@[x/y"])
@pytest.mark.parametrize("name", ["address", "logs_address"])
def test_no_address_may_hold_a_password_wherever_it_comes_from(place, name, address):
    place.user(f'[profile.prod]\nbackend = "eng"\n{name} = "{address}"')
    with pytest.raises(ConfigError, match="may hold no user and no password") as error:
        place.config().resolve("prod")
    assert "sesame" not in str(error.value)
    assert error.value.remedy == f"{name} comes from {place.user_file}:3; token may say who you are"


def test_the_engines_own_variable_may_hold_no_password_either(place):
    with pytest.raises(ConfigError, match="may hold no user and no password") as error:
        place.config({"ENG_ADDR": "http://me:sesame@x:1"}).resolve("eng")
    assert "$ENG_ADDR" in error.value.remedy


@pytest.mark.parametrize("path", ["/home/me@work/spool", "me@work/spool", "unix:///run/a@b.sock"])
def test_a_path_may_hold_an_at(place, path):
    assert place.config({"ENG_ADDR": path}).resolve("eng").settings.address == path


# -- references ------------------------------------------------------------------------------


def ref(profile, backend="eng"):
    return JobRef.parse(str(JobRef(backend, profile, ("ns",), "x")))


def test_a_reference_finds_its_profile(place):
    place.user(MINE)
    resolved = place.config().for_ref(ref("prod"))
    assert (resolved.ref_profile, resolved.settings.token) == ("prod", "sesame")


def test_a_reference_finds_a_bare_backend(place):
    assert (
        place.config({"ENG_ADDR": "http://e:1"}).for_ref(ref("eng")).settings.address
        == "http://e:1"
    )


@pytest.mark.parametrize("address", [EVIL, "evil.example", "https://prod:1.evil.example", "/spool"])
def test_a_strangers_reference_gets_no_credentials(place, address):
    place.user(MINE)
    resolved = place.config(ENV).for_ref(ref(address))
    settings = resolved.settings
    assert settings.address == resolved.ref_profile == address
    assert (settings.token, settings.token_command, settings.ca_file) == (None, None, None)


@pytest.mark.parametrize(
    ("env", "token"),
    [
        ({"ENG_ADDR": "http://e:1", "ENG_TOKEN": "x"}, "x"),
        ({"BATCHBRIDGE_ENG_ADDRESS": "http://e:1", "BATCHBRIDGE_ENG_TOKEN": "x"}, "x"),
        ({"BATCHBRIDGE_PROD_ADDRESS": "http://e:1", "BATCHBRIDGE_PROD_TOKEN": "x"}, "x"),
        ({"ENG_ADDR": "http://other:1", "ENG_TOKEN": "x"}, None),
        ({"BATCHBRIDGE_ENG_TOKEN": "x"}, None),
    ],
)
def test_an_address_gets_the_credentials_configured_for_that_very_address(place, env, token):
    place.user('[profile.prod]\nbackend = "eng"')
    resolved = place.config(env).for_ref(ref("http://e:1"))
    assert (resolved.settings.token, resolved.ref_profile) == (token, "http://e:1")


def test_flags_given_for_an_address_are_used_for_its_references_and_no_other(place):
    flags = {"address": "http://e:1", "token": "mine"}
    config = place.config()
    assert config.for_ref(ref("http://e:1"), flags).settings.token == "mine"
    assert config.for_ref(ref(EVIL), flags).settings.token is None
    assert config.for_ref(ref(EVIL), {"token": "mine"}).settings.token == "mine"


def test_a_reference_to_an_undefined_profile_is_refused_and_no_default_address_used(place):
    place.user(MINE)
    with pytest.raises(ConfigError, match=r"no profile 'prdo'.*did you mean 'prod'") as error:
        place.config().for_ref(ref("prdo"))
    assert "[profile.prdo]" in error.value.remedy


def test_a_reference_whose_profile_is_another_backends_here_is_refused(place):
    place.user('[profile.prod]\nbackend = "local"')
    with pytest.raises(ConfigError, match="the profile 'prod' is one of local here"):
        place.config().for_ref(ref("prod"))


def test_a_reference_of_a_driver_that_is_not_installed(place):
    with pytest.raises(DriverNotFound, match="'engg'; did you mean 'eng'"):
        place.config().for_ref(ref(EVIL, backend="engg"))
