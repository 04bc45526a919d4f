"""What is wrong in a file is named with its line, and only the right files are read."""

from __future__ import annotations

import os

import pytest

from batchbridge.configfiles import line_of
from batchbridge.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = = 2", r"user.toml:2: this is not TOML: Invalid value"),
        ('default_profile = "x', r"user.toml(:1)?: this is not TOML"),
        ("\nprofle = 1", r"user.toml:2: profle is not known; did you mean 'profile'\?"),
        ('profile = "prod"', r"user.toml:1: profile is the table of profiles"),
        ("default_profile = 3", r"user.toml:1: default_profile must be text"),
        ("store = 3", r"user.toml:1: store must be text"),
        ("job = 3", r"user.toml:1: job must be a table"),
        ("[profile]\nprod = 3", r"user.toml:2: profile.prod must be a table"),
        ("[profile.prod]\nbackend = 3", r"user.toml:2: profile.prod.backend must be text"),
        ("[profile.prod]\noptions = 3", r"user.toml:2: profile.prod.options must be a table"),
        ('[profile."a.b"]\nbackend = "eng"', r"user.toml:1: profile.a.b is no name"),
        ('trusted = "/src"', r"user.toml:1: trusted must be a list of text"),
        ("trusted = [1]", r"user.toml:1: trusted must be a list of text"),
        ("locked = []", r"user.toml:1: locked does not belong into a user's file"),
        (
            "[job]\ncpu = 1\nmemry = 2",
            r"user.toml:3: job.memry is not known; did you mean 'memory'",
        ),
        ('[job]\nmemory = "4X"', r"user.toml:2: job.memory '4X' is no size"),
        ("[job]\n\ncpu = -1", r"user.toml:3: job.cpu must be more than 0"),
        ("[job.env]\nA = 1", r"user.toml:2: job.env.A is int, not text"),
        ('[job]\ncommand = "x"', r"user.toml:2: job.command has no default"),
        ("[job.options]\na = 1", r"user.toml:1: job.options belong to a backend"),
        ("[profile.x.job]\ncpus = 1", r"user.toml:2: profile.x.job.cpus is not known"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(place, text, message):
    place.user_file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        place.config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('address = "x:1"\njbo = {cpu = 1}', r"toml:3: .*no 'jbo'; did you mean 'job'\?"),
        ('address = "x:1"\nadress = ""', r"toml:3: .*no 'adress'; did you mean 'address'\?"),
        ("[profile.eng.options]\nprio = 1", r"toml:3: profile.eng.options.prio: .*'prio'"),
        ("options = {prio = 1}", r"toml:2: profile.eng.options.prio: .*'prio'"),
        ('[profile.eng.options]\npriority = "x"', r"toml:3: priority: Expected `int`"),
        ('[profile.eng.options]\nrunner = "dokcer"', r"toml:3: .*did you mean 'docker'"),
    ],
)
def test_what_only_the_driver_knows_is_checked_when_it_is_used(place, text, message):
    place.user_file.write_text(f"[profile.eng]\n{text}")
    config = place.config()
    with pytest.raises(ConfigError, match=message):
        config.resolve("eng")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('locked = ["profile.prod.address"]', "'profile.prod.address', which has no value here"),
        ('locked = ["job.cpu"]\n[job]\ncpu = 1', "'job.cpu', which cannot be locked"),
        ('locked = ["profile"]', "'profile', which cannot be locked"),
    ],
)
def test_a_lock_must_hold_something(place, text, message):
    place.site_file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        place.config()


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("default_profile",), 2),
        (("profile", "prod", "address"), 5),
        (("profile", "prod", "options", "deep"), 6),
        (("profile", "a b", "token"), 9),
        (("profile", "prod", "job", "cpu"), 11),
        (("profile", "prod", "job", "gone"), 10),
        (("profile", "prod"), 3),
        (("nothing",), 1),
    ],
)
def test_lines_are_found_as_the_parser_reads_keys(key, line):
    text = """# a file
default_profile = 'prod' # = 1
[ profile . prod ]
note = '''
'address' = 3
options.deep = 1
'''
[profile."a b"]
"token" = "[x]"
[profile.prod.job]
cpu = 1"""
    assert line_of(text, key) == line


def test_a_file_that_cannot_be_read_is_an_error_and_not_passed_over(place):
    place.user_file.write_bytes(b"store = '\xff'")
    with pytest.raises(ConfigError, match=r"user.toml cannot be read: .*utf-8"):
        place.config()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(place):
    place.user("")
    place.user_file.chmod(0)
    with pytest.raises(ConfigError, match=r"user.toml cannot be read: .*Permission denied"):
        place.config()


def test_errors_of_files_are_wrong_usage(place):
    place.user("x = 1")
    with pytest.raises(UsageError) as error:
        place.config()
    assert error.value.exit_code == 2


def test_no_file_at_all_is_fine(place):
    assert place.config().default_profile == "local"


def test_files_that_the_environment_names_stand_before_the_users_own(place, tmp_path):
    place.user('default_profile = "mine"\nstore = "/mine"')
    named = [tmp_path / "one.toml", tmp_path / "two.toml"]
    named[0].write_text('default_profile = "one"')
    named[1].write_text('default_profile = "two"\n[profile.extra]\nbackend = "eng"')
    config = place.config({"BATCHBRIDGE_CONFIG": os.pathsep.join(map(str, named))})
    assert config.default_profile == "one"
    assert config.profiles()["extra"] == "eng"
    assert config.resolve("extra").store == "/mine"


def test_a_file_that_the_environment_names_must_be_there(place, tmp_path):
    with pytest.raises(ConfigError, match=r"gone.toml, which \$BATCHBRIDGE_CONFIG names"):
        place.config({"BATCHBRIDGE_CONFIG": str(tmp_path / "gone.toml")})


# -- which project's file --------------------------------------------------------------------


def test_a_projects_file_is_found_from_within_its_repository(place):
    place.project('default_profile = "mine"')
    below = place.checkout / "a" / "b"
    below.mkdir(parents=True)
    assert place.config(cwd=below).default_profile == "mine"


def test_the_nearest_file_is_taken(place):
    place.project('default_profile = "outer"')
    inner = place.checkout / "inner"
    inner.mkdir()
    (inner / "batchbridge.toml").write_text('default_profile = "inner"')
    assert place.config(cwd=inner).default_profile == "inner"


def test_nothing_above_the_repository_is_read(place):
    (place.root / "batchbridge.toml").write_text('default_profile = "above"')
    assert place.config().default_profile == "local"


def test_outside_of_repository_and_home_nothing_above_is_read(place):
    """``/tmp/batchbridge.toml`` is anybody's."""
    bare = place.root / "tmp" / "work"
    bare.mkdir(parents=True)
    (bare.parent / "batchbridge.toml").write_text('default_profile = "anybody"')
    assert place.config(cwd=bare).default_profile == "local"
    (bare / "batchbridge.toml").write_text('default_profile = "here"')
    assert place.config(cwd=bare).default_profile == "here"


def test_in_the_home_directory_the_search_ends_at_home(place):
    work = place.root / "home" / "src" / "x"
    work.mkdir(parents=True)
    (place.root / "batchbridge.toml").write_text('default_profile = "above"')
    assert place.config(cwd=work).default_profile == "local"
    (place.root / "home" / "batchbridge.toml").write_text('default_profile = "home"')
    assert place.config(cwd=work).default_profile == "home"
