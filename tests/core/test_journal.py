from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from batchbridge.journal import Journal
from batchbridge.model import JobSpec, Secret, Submission


def submission(key: str, job_set: str = "set", command: str = "true") -> Submission:
    spec = JobSpec(command=(command,), name=f"job {key}", secrets={"TOKEN": "env:TOKEN"})
    return Submission(key, spec, job_set, "me", secrets={"TOKEN": Secret("canary")})


def test_a_submission_is_open_until_its_answer(tmp_path):
    journal = Journal(tmp_path / "state" / "journal.sqlite3")
    a, b, c = (submission(key) for key in "abc")
    notes = journal.asked("prod", ("team",), [a, b, c])
    assert [entry.unknown for entry in journal.entries()] == [True] * 3
    answers = [("a", "nomad://prod/team/a", None), ("b", None, "no"), ("c", None, None)]
    journal.answered(notes, answers)
    found = {entry.key: entry for entry in journal.entries()}
    assert [found[key].unknown for key in "abc"] == [False, False, True]
    assert found["b"].error == "no"
    assert journal.entries(ref="nomad://prod/team/a") == [found["a"]]
    assert found["a"].spec["command"] == ["true"]


def test_entries_are_chosen_by_set_and_time_and_survive_the_process(tmp_path):
    path = tmp_path / "journal.sqlite3"
    Journal(path).asked("prod", (), [submission("a", "one"), submission("b", "two")])
    assert [entry.key for entry in Journal(path).entries(job_set="two")] == ["b"]
    assert Journal(path).entries(since=9e9) == []


def test_the_same_key_again_keeps_its_reference(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    notes = journal.asked("prod", (), [submission("a")])
    journal.answered(notes, [("a", "ref", None)])
    notes = journal.asked("prod", (), [submission("a")])
    journal.answered(notes, [("a", None, None)])
    assert [entry.ref for entry in journal.entries()] == ["ref"]


def test_a_refused_one_that_is_submitted_again_is_open_again(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    notes = journal.asked("prod", (), [submission("a")])
    journal.answered(notes, [("a", None, "no")])
    journal.asked("prod", (), [submission("a")])
    assert [entry.unknown for entry in journal.entries()] == [True]


def test_a_job_is_noted_as_it_was_accepted_not_as_a_first_try_was_refused(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.sqlite3")
    old = submission("a", "one", "old")
    notes = journal.asked("prod", (), [old])
    journal.answered(notes, [("a", None, "no")])
    monkeypatch.chdir(tmp_path)
    new = submission("a", "two", "new")
    notes = journal.asked("prod", (), [new])
    journal.answered(notes, [("a", "ref", None)])
    newer = submission("a", "three", "newer")
    notes = journal.asked("prod", (), [newer])
    journal.answered(notes, [("a", None, "the key is another job's")])
    (entry,) = journal.entries(ref="ref")
    assert (entry.spec["command"], entry.job_set, entry.cwd) == (["new"], "two", str(tmp_path))


@pytest.mark.parametrize("answer", ["the key is another job's", None], ids=["refused", "lost"])
def test_an_open_submit_keeps_its_spec_when_its_key_is_used_for_another(tmp_path, answer):
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.asked("prod", (), [submission("a", command="first")])
    other = submission("a", "other set", "other")
    notes = journal.asked("prod", (), [other])
    journal.answered(notes, [("a", None, answer)])
    (entry,) = journal.entries(key="a")
    assert entry.unknown
    assert (entry.spec["command"], entry.job_set) == (["first"], "set")


def test_an_open_submit_keeps_the_time_at_which_the_engine_was_asked_first(tmp_path):
    journal, job = Journal(tmp_path / "journal.sqlite3"), submission("a")
    journal.asked("prod", (), [job])
    (first,) = journal.entries()
    notes = journal.asked("prod", (), [job])
    assert journal.entries() == [first]
    journal.answered(notes, [("a", "ref", None)])
    (accepted,) = journal.entries()
    assert accepted.asked_at > first.asked_at


def test_an_open_submit_becomes_the_one_that_is_accepted_under_its_key(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.asked("prod", (), [submission("a", command="first")])
    other = submission("a", "other set", "other")
    notes = journal.asked("prod", (), [other])
    journal.answered(notes, [("a", "ref", None)])
    (entry,) = journal.entries(ref="ref")
    assert (entry.spec["command"], entry.job_set) == (["other"], "other set")


def test_another_job_under_the_same_key_takes_its_place(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    for command, ref in (("first", "one"), ("second", "two")):
        job = submission("a", command=command)
        notes = journal.asked("prod", (), [job])
        journal.answered(notes, [("a", ref, None)])
    (entry,) = journal.entries(key="a")
    assert (entry.ref, entry.spec["command"]) == ("two", ["second"])


def test_an_entry_knows_where_it_was_submitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.asked("nomad://prod", (), [submission("a")])
    (entry,) = journal.entries()
    assert (entry.engine, entry.cwd) == ("nomad://prod", str(tmp_path))


def test_a_directory_whose_name_is_no_text_is_given_back(tmp_path, monkeypatch):
    odd = tmp_path / os.fsdecode(b"od\xff")
    odd.mkdir()
    monkeypatch.chdir(odd)
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.asked("prod", (), [submission("a")])
    (entry,) = journal.entries()
    assert Path(entry.cwd) == odd


def test_the_file_is_private_and_holds_no_secret(tmp_path):
    path = tmp_path / "journal.sqlite3"
    Journal(path).asked("prod", (), [submission("a")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"canary" not in path.read_bytes()


def test_a_journal_that_cannot_be_used_warns_once_and_fails_nothing(tmp_path, caplog):
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"no database at all, by any means" * 100)
    journal = Journal(path)
    notes = journal.asked("prod", (), [submission("a")])
    journal.answered(notes, [("a", "ref", None)])
    assert journal.entries() == []
    assert caplog.text.count("cannot be used") == 1


def test_what_is_no_text_warns_and_fails_nothing(tmp_path, caplog):
    journal = Journal(tmp_path / "journal.sqlite3")
    notes = journal.asked("prod", (), [submission("a")])
    journal.answered(notes, [("a", None, "no file a\udcff")])
    assert journal.entries(job_set="\udcff") == []
    assert caplog.text.count("cannot be used") == 1


def test_a_directory_that_may_not_be_looked_into_fails_nothing(tmp_path, caplog, monkeypatch):
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refused)  # root, whom nothing is forbidden, runs this too
    assert Journal(tmp_path / "journal.sqlite3").entries() == []
    assert "Permission denied" in caplog.text


def test_many_threads_write_at_once(tmp_path):
    path = tmp_path / "journal.sqlite3"
    threads = [
        threading.Thread(target=Journal(path).asked, args=("p", (), [submission(f"{n}")]))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Journal(path).entries()) == 16
