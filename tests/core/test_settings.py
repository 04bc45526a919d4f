"""Which value wins, where it comes from, and what a profile resolves to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batchbridge import registry
from batchbridge.errors import ConfigError, DriverBug, DriverNotFound, SpecError
from batchbridge.model import JobSpec
from batchbridge.settings import Config
from tests.core.engine import DEFAULT_ADDRESS, Engine

SOURCES = ["flag", "environment", "project", "user", "site", "engine", "default"]


def configured(place, name, sources):
    """A config where each of `sources` gives the setting `name` its own name as the value."""
    env = {"BATCHBRIDGE_PROD_" + name.upper(): "environment", "ENG_" + name.upper(): "engine"}
    kept = {key: value for key, value in env.items() if value in sources}
    for kind in {"project", "user", "site"} & set(sources):
        getattr(place, kind)(f'[profile.prod]\n{name} = "{kind}"\n')
    if "site" not in sources:
        place.site("[profile.prod]")
    place.site(place.site_file.read_text() + '\nbackend = "eng"')
    return place.config(kept), {name: "flag"} if "flag" in sources else None


@pytest.mark.parametrize("strongest", range(len(SOURCES)))
def test_the_strongest_source_wins(place, strongest):
    config, flags = configured(place, "namespace", SOURCES[strongest:])
    resolved = config.resolve("prod", flags)
    assert resolved.settings.namespace == SOURCES[strongest]
    assert resolved.origins["namespace"].kind == SOURCES[strongest]


def test_each_value_shows_where_it_comes_from_and_secrets_are_masked(place):
    place.user(
        """
        default_profile = "prod"
        [profile.prod]
        backend = "eng"
        token = "sesame"
        store = "s3://b/p"
        [profile.prod.job]
        memory = "1G"
        [profile.prod.options]
        priority = 70
        password = "sesame"
        """
    )
    config = place.config({"ENG_ADDR": "https://e:1", "BATCHBRIDGE_PROD_NAMESPACE": "ml"})
    resolved = config.resolve(None, {"patience": "2m"})
    shown = {name: (value, str(origin)) for name, value, origin in resolved.shown()}
    assert shown == {
        "address": ("https://e:1", "$ENG_ADDR"),
        "token": ("***", f"{place.user_file}:5"),
        "verify": ("True", "default"),
        "namespace": ("ml", "$BATCHBRIDGE_PROD_NAMESPACE"),
        "patience": ("120.0", "flag"),
        "store": ("s3://b/p", f"{place.user_file}:6"),
        "job.memory": ("1G", f"{place.user_file}:8"),
        "options.priority": ("70", f"{place.user_file}:10"),
        "options.password": ("***", f"{place.user_file}:11"),
    }
    assert "sesame" not in repr(resolved.settings)
    assert "sesame" not in repr(config)


def test_a_bare_backend_needs_no_file(place):
    resolved = place.config().resolve("eng")
    assert (resolved.profile, resolved.backend, resolved.ref_profile) == ("eng", "eng", "eng")
    assert resolved.driver_cls is Engine
    assert resolved.settings == Engine.Settings()
    assert resolved.store is None


def test_the_default_profile_is_local_unless_somebody_chooses(place):
    assert place.config().default_profile == "local"
    place.site('default_profile = "site"')
    assert place.config().default_profile == "site"
    place.user('default_profile = "user"')
    assert place.config().default_profile == "user"
    place.project('default_profile = "project"')
    assert place.config().default_profile == "project"
    assert place.config({"BATCHBRIDGE_PROFILE": "env"}).default_profile == "env"
    assert place.config({"BATCHBRIDGE_PROFILE": ""}).default_profile == "project"


def test_an_empty_variable_is_not_set(place):
    resolved = place.config({"ENG_ADDR": "", "BATCHBRIDGE_ENG_ADDRESS": ""}).resolve("eng")
    assert resolved.settings.address == DEFAULT_ADDRESS


def test_a_hyphen_of_a_profile_is_an_underscore_of_its_variables(place):
    place.user('[profile.eu-west]\nbackend = "eng"')
    config = place.config({"BATCHBRIDGE_EU_WEST_NAMESPACE": "x"})
    assert config.resolve("eu-west").settings.namespace == "x"


@pytest.mark.parametrize("names", [("a-b", "a_b"), ("prod", "PROD")])
def test_profiles_that_would_share_their_variables_are_refused(place, names):
    place.user("".join(f'[profile.{name}]\nbackend = "eng"\n' for name in names))
    with pytest.raises(ConfigError, match="share their variables"):
        place.config()


def test_a_profile_can_be_defined_by_variables_alone(place):
    config = place.config(
        {"BATCHBRIDGE_PROD_BACKEND": "eng", "BATCHBRIDGE_PROD_ADDRESS": "http://p:1"}
    )
    assert config.resolve("prod").settings.address == "http://p:1"


def test_profiles_lists_the_defined_ones_and_the_bare_backends(place):
    place.user('[profile.prod]\nbackend = "eng"')
    place.site('[profile.local]\ngrace = 1\n[profile.lab]\nbackend = "local"')
    profiles = place.config().profiles()
    assert (
        profiles.items() >= {"prod": "eng", "lab": "local", "local": "local", "eng": "eng"}.items()
    )


# -- types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("verify", "false", False),
        ("verify", "1", True),
        ("patience", "2m", 120.0),
        ("patience", "7", 7.0),
        ("namespace", "7", "7"),
    ],
)
def test_text_is_read_as_the_type_of_its_setting(place, name, text, value):
    by_flag = place.config().resolve("eng", {name: text})
    by_variable = place.config({f"BATCHBRIDGE_ENG_{name.upper()}": text}).resolve("eng")
    assert getattr(by_flag.settings, name) == getattr(by_variable.settings, name) == value


@pytest.mark.parametrize(
    ("toml", "env", "flags", "message"),
    [
        ('verify = "maybe"', {}, {}, "user.toml:2: verify: Expected `bool`"),
        (
            "",
            {"BATCHBRIDGE_ENG_VERIFY": "maybe"},
            {},
            r"\$BATCHBRIDGE_ENG_VERIFY: verify: Expected",
        ),
        ("", {"ENG_VERIFY": "maybe"}, {}, r"\$ENG_VERIFY: verify: Expected"),
        ("", {}, {"patience": "soon"}, "flag: patience 'soon' is no time"),
        ("namespace = 7", {}, {}, "user.toml:2: namespace: Expected `str`, got `int`"),
        ("", {}, {"patience": 0}, "patience must be more than 0"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_origin(
    place,
    toml,
    env,
    flags,
    message,
):
    place.user(f"[profile.eng]\n{toml}")
    with pytest.raises(ConfigError, match=message):
        place.config(env).resolve("eng", flags)


def test_an_unknown_flag_is_refused_with_a_suggestion(place):
    with pytest.raises(ConfigError, match=r"eng has no setting 'adress'; did you mean 'address'\?"):
        place.config().resolve("eng", {"adress": "http://x:1"})


def test_a_required_setting_names_every_way_to_give_it(place):
    from dataclasses import dataclass

    from batchbridge.driver import setting

    @dataclass(frozen=True)
    class Settings:
        address: str = setting(help="where", address=True)

    class Strict(Engine):
        name = "strict"

    Strict.Settings = Settings
    with registry.registered(Strict):
        with pytest.raises(ConfigError, match=r"strict\.address is missing") as error:
            place.config().resolve("strict")
        assert "[profile.strict]" in error.value.remedy
        assert "BATCHBRIDGE_STRICT_ADDRESS" in error.value.remedy


def test_a_setting_that_is_refused_is_named_with_where_it_comes_from(place):
    config = place.config({"BATCHBRIDGE_ENG_PATIENCE": "0"})
    with pytest.raises(ConfigError, match="patience must be more than 0") as error:
        config.resolve("eng")
    assert error.value.remedy == "patience comes from $BATCHBRIDGE_ENG_PATIENCE"


def test_a_driver_may_not_name_a_setting_like_a_key_of_every_profile(place):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Settings:
        store: str = "mine"

    class Clash(Engine):
        name = "clash"

    Clash.Settings = Settings
    with registry.registered(Clash), pytest.raises(DriverBug, match="'store'"):
        place.config().resolve("clash")


# -- undefined -------------------------------------------------------------------------------


def test_an_undefined_profile_is_refused_and_says_how_to_define_it(place):
    place.user('[profile.prod]\nbackend = "eng"')
    with pytest.raises(ConfigError, match=r"no profile 'prdo'.*did you mean 'prod'") as error:
        place.config().resolve("prdo")
    assert "[profile.prdo]" in error.value.remedy


def test_a_profile_without_a_backend_is_refused_where_it_stands(place):
    place.user('[profile.prod]\naddress = "http://x:1"')
    with pytest.raises(ConfigError, match=r"user.toml:1: profile.prod names no backend"):
        place.config().resolve("prod")


def test_a_profile_whose_driver_is_not_installed(place):
    place.user('[profile.prod]\nbackend = "engg"')
    with pytest.raises(DriverNotFound, match="did you mean 'eng'"):
        place.config().resolve("prod")


def test_a_profile_named_like_a_backend_is_that_backend(place):
    place.user('[profile.eng]\nbackend = "local"')
    with pytest.raises(ConfigError, match=r"user.toml:2: the profile 'eng' is the backend"):
        place.config().resolve("eng")


# -- a credential in several ways ------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, (None, "/t", None)),
        ({"ENG_TOKEN": "x"}, (None, "/t", None)),
        ({"BATCHBRIDGE_PROD_TOKEN": "x"}, ("x", None, None)),
        ({"BATCHBRIDGE_PROD_TOKEN_COMMAND": "x"}, (None, None, "x")),
    ],
)
def test_the_strongest_source_decides_how_a_credential_is_given(place, env, expected):
    place.user('[profile.prod]\nbackend = "eng"\ntoken_file = "/t"')
    settings = place.config(env).resolve("prod").settings
    assert (settings.token, settings.token_file, settings.token_command) == expected


def test_two_ways_of_one_source_are_left_to_the_driver_to_refuse(place):
    place.user('[profile.prod]\nbackend = "eng"\ntoken_file = "/t"\ntoken = "x"')
    settings = place.config().resolve("prod").settings
    assert (settings.token, settings.token_file) == ("x", "/t")


# -- defaults for jobs -----------------------------------------------------------------------

DEFAULTS = """
[job]
cpu = 1
memory = "1G"
timeout = "1h"
env = {A = "job", B = "job", S = "job"}
secrets = {T = "env:T"}
[profile.prod]
backend = "eng"
[profile.prod.job]
memory = "2G"
env = {B = "profile", C = "profile"}
[profile.prod.options]
priority = 70
meta = {a = "1"}
"""


def test_a_job_stands_over_its_profile_and_that_over_the_defaults_of_all(place):
    place.user(DEFAULTS)
    form = {
        "command": ["true"],
        "timeout": "5m",
        "cpu": None,
        "env": {"C": "own", "T": "own"},
        "secrets": {"S": "env:S"},
        "options": {"runner": "exec", "zones": "a,b", "scratch": "1K"},
    }
    spec = JobSpec.parse(place.config().resolve("prod").spec(form))
    assert (spec.cpu, spec.memory, spec.timeout) == (1.0, 2 << 30, 300.0)
    assert spec.env == {"A": "job", "B": "profile", "C": "own", "T": "own"}
    assert spec.secrets == {"S": "env:S"}
    assert spec.options == {
        "priority": 70,
        "meta": {"a": "1"},
        "runner": "exec",
        "zones": ("a", "b"),
        "scratch": 1024,
    }


def test_defaults_are_not_changed_by_the_jobs_that_use_them(place):
    place.user(DEFAULTS)
    resolved = place.config().resolve("prod")
    first = resolved.spec({"command": ["true"], "env": {"X": "1"}})
    assert resolved.spec({"command": ["true"], "env": {"X": "1"}}) == first
    assert "X" not in resolved.spec({"command": ["true"]})["env"]


@pytest.mark.parametrize(
    "form",
    [{"env": "A=1"}, {"options": "x"}, {"secrets": ["A"]}],
)
def test_a_malformed_job_is_refused_as_such(place, form):
    place.user(DEFAULTS)
    with pytest.raises(SpecError):
        JobSpec.parse(place.config().resolve("prod").spec({"command": ["true"], **form}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prioritty": 1}, r"options.prioritty.*did you mean 'priority'\?"),
        ({"runner": "dokcer"}, r"options.runner: 'dokcer' is none of docker, exec; did you mean"),
        ({"priority": "high"}, "options.priority: Expected `int`"),
    ],
)
def test_options_of_a_job_are_refused_naming_the_valid_ones(place, options, message):
    with pytest.raises(SpecError, match=message):
        place.config().resolve("eng").spec({"command": ["true"], "options": options})


def test_the_store_of_a_profile_stands_over_that_of_all(place):
    place.user('store = "/all"\n[profile.prod]\nbackend = "eng"\nstore = "/prod"')
    assert place.config().resolve("eng").store == "/all"
    assert place.config().resolve("prod").store == "/prod"
    assert place.config({"BATCHBRIDGE_STORE": "/env"}).resolve("eng").store == "/env"
    assert place.config({"BATCHBRIDGE_PROD_STORE": "/env"}).resolve("prod").store == "/env"
    assert place.config().resolve("prod", {"store": "/flag"}).store == "/flag"


# -- locked by the site ----------------------------------------------------------------------

LOCKED = """
locked = ["profile.prod.address", "store", "default_profile"]
default_profile = "prod"
store = "s3://site/x"
[profile.prod]
backend = "eng"
address = "https://site:1"
"""


def test_what_the_site_locks_holds(place):
    place.site(LOCKED)
    resolved = place.config({"ENG_ADDR": "http://x:1"}).resolve()
    assert (resolved.settings.address, resolved.store) == ("https://site:1", "s3://site/x")


@pytest.mark.parametrize(
    ("user", "env", "flags", "message"),
    [
        (
            "",
            {},
            {"address": "http://x:1"},
            "flag: profile.prod.address is locked by .*site.toml:7",
        ),
        (
            "",
            {"BATCHBRIDGE_PROD_ADDRESS": "http://x:1"},
            {},
            r"\$BATCHBRIDGE_PROD_ADDRESS: profile",
        ),
        (
            '[profile.prod]\naddress = "http://x:1"',
            {},
            {},
            "user.toml:2: profile.prod.address is lo",
        ),
        ('store = "/tmp"', {}, {}, "user.toml:1: store is locked"),
        ('[profile.prod]\nstore = "/tmp"', {}, {}, "user.toml:2: store is locked"),
        ("", {}, {"store": "/tmp"}, "flag: store is locked"),
        ('default_profile = "eng"', {}, {}, "user.toml:1: default_profile is locked"),
        ("", {"BATCHBRIDGE_PROFILE": "eng"}, {}, r"\$BATCHBRIDGE_PROFILE: default_profile is lock"),
    ],
)
def test_an_attempt_to_override_what_is_locked_is_refused(
    place,
    user,
    env,
    flags,
    message,
):
    place.site(LOCKED)
    place.user(user)
    with pytest.raises(ConfigError, match=message):
        place.config(env).resolve(None, flags)


def test_naming_another_profile_than_the_locked_one_is_refused(place):
    place.site(LOCKED)
    assert place.config().resolve("prod").profile == "prod"
    with pytest.raises(ConfigError, match="flag: default_profile is locked"):
        place.config().resolve("eng")


# -- cost ------------------------------------------------------------------------------------


def test_importing_settings_loads_nothing_that_only_some_commands_need():
    code = (
        "import sys; before = set(sys.modules); import batchbridge.settings;"
        "print(sorted({'stevedore', 'platformdirs', 'tomllib', 'importlib.metadata'}"
        " & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_files_of_this_user_are_read_where_none_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from batchbridge.settings import user_file

    user_file().parent.mkdir(parents=True)
    user_file().write_text('default_profile = "mine"')
    assert Config.load(env={}).default_profile == "mine"
