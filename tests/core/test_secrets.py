"""Where secrets come from, and that no error shows one."""

from __future__ import annotations

import shlex
import sys
import threading
import traceback

import pytest

from batchbridge import secrets
from batchbridge.errors import ConfigError, SpecError
from batchbridge.secrets import Credential

CANARY = "canary-7f3a"


def command(code: str) -> str:
    return "command:" + shlex.join([sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("TOKEN", ("TOKEN", "env:TOKEN")),
        ("TOKEN=env:OTHER", ("TOKEN", "env:OTHER")),
        ("TOKEN=command:pass show a=b", ("TOKEN", "command:pass show a=b")),
    ],
)
def test_a_flag_without_a_source_means_the_variable_of_that_name(flag, expected):
    assert secrets.from_flag(flag) == expected


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_values_come_from_variables_files_and_commands(tmp_path, monkeypatch, end):
    monkeypatch.setenv("THERE", CANARY)
    (tmp_path / "token").write_bytes((CANARY + end).encode())
    found = secrets.resolve(
        {
            "A": "env:THERE",
            "B": f"file:{tmp_path / 'token'}",
            "C": command(f"print({CANARY!r}, end={end!r})"),
        }
    )
    assert {name: secret.reveal() for name, secret in found.items()} == dict.fromkeys("ABC", CANARY)
    assert CANARY not in repr(found)


def test_only_one_newline_is_taken_away(tmp_path):
    (tmp_path / "pem").write_text("a\nb\n\n")
    assert secrets.resolve({"A": f"file:{tmp_path / 'pem'}"})["A"].reveal() == "a\nb\n"


def test_a_variable_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("THERE", "a\n")
    assert secrets.resolve({"A": "env:THERE"})["A"].reveal() == "a\n"


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(CANARY)
    assert secrets.resolve({"A": "file:~/token"})["A"].reveal() == CANARY


def test_a_command_is_run_without_a_shell(tmp_path):
    marker = tmp_path / "made"
    found = secrets.resolve({"A": f"command:echo $HOME; touch {marker}"})
    assert found["A"].reveal() == f"$HOME; touch {marker}"
    assert not marker.exists()


@pytest.mark.parametrize(
    ("source", "problem", "remedy"),
    [
        ("env:NOT_THERE", "the variable NOT_THERE is not set", "export NOT_THERE"),
        ("file:/not/there", "/not/there cannot be read: No such file", ""),
        ("file:/", "cannot be read: Is a directory", ""),
        ("command:no-such-program-7f3a", "cannot be run", ""),
        ("command:'unbalanced", "cannot be run: No closing quotation", ""),
        ("command:   ", "cannot be run", ""),
        (command(f"print({CANARY!r}); raise SystemExit(3)"), "ended with 3", ""),
        (command("import sys; sys.stdout.buffer.write(b'\\xff')"), "is not UTF-8", ""),
        (command("print('a\\0b')"), "holds a NUL byte", ""),
        ("evn:THERE", "is no source; did you mean 'env'?", "env:NAME, file:PATH"),
        ("THERE", "is no source", "env:NAME, file:PATH"),
        ("env:", "is no source", "env:NAME, file:PATH"),
    ],
)
def test_what_cannot_be_read_is_named_with_a_remedy(source, problem, remedy):
    with pytest.raises(SpecError) as error:
        secrets.resolve({"DB": source})
    assert problem in str(error.value)
    assert str(error.value).startswith("secrets.DB: ")
    assert error.value.path == "secrets.DB"
    assert remedy in error.value.remedy


def test_what_a_failing_command_printed_is_in_no_traceback():
    code = "import os; print(os.environ['PRINTED']); raise SystemExit(1)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRINTED", CANARY)
        with pytest.raises(SpecError) as error:
            secrets.resolve({"DB": command(code)})
    assert CANARY not in "".join(traceback.format_exception(error.value))
    assert error.value.__cause__ is None


def test_a_command_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)
    with pytest.raises(SpecError, match="printed nothing"):
        secrets.resolve({"A": command("import threading; threading.Event().wait()")})


# -- credentials -----------------------------------------------------------------------------


def test_a_credential_that_nobody_gave_is_none():
    credential = Credential("token")
    assert credential.get() is None
    assert not credential.refused(None)


def test_a_given_value_cannot_change():
    credential = Credential("token", CANARY)
    assert credential.get() == CANARY
    assert not credential.refused(CANARY)
    assert credential.get() == CANARY


def test_a_file_is_read_once_and_again_when_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("old\n")
    credential = Credential("token", file=str(path))
    assert credential.get() == "old"
    path.write_text("new\n")
    assert credential.get() == "old"
    assert credential.refused("old")
    assert credential.get() == "new"


def test_of_many_calls_refused_at_once_the_first_reads_again(tmp_path):
    path = tmp_path / "count"
    path.write_text("")
    code = f"p = open({str(path)!r}, 'a+'); p.write('x'); p.seek(0); print(p.read())"
    credential = Credential("token", command=command(code).removeprefix("command:"))
    refused = credential.get()
    assert refused == "x"

    def call():
        assert credential.refused(refused)
        credential.get()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert credential.get() == "xx"


def test_two_ways_at_once_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="token is given in more than one way"):
        Credential("token", CANARY, command="pass show token")


def test_a_credential_that_cannot_be_read_names_its_setting():
    with pytest.raises(ConfigError, match="token: /not/there cannot be read"):
        Credential("token", file="/not/there").get()


def test_a_credential_does_not_show_its_value():
    assert CANARY not in repr(Credential("token", CANARY))
