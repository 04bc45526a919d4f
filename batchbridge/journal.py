"""What this user has submitted from this machine: one small SQLite file. A convenience.

A row is written before the engine is asked and completed with its answer, so that a lost answer is
seen as "outcome unknown". No value of a secret is in it. If it cannot be written, a warning is all.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from batchbridge.model import Submission

log = logging.getLogger("batchbridge")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS submissions (
  engine TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
  job_set TEXT NOT NULL, spec TEXT NOT NULL, cwd BLOB NOT NULL, asked_at REAL NOT NULL,
  ref TEXT, error TEXT,
  PRIMARY KEY (engine, scope, key)
)
"""

_OPEN: Final = "ref IS NULL AND error IS NULL"
_REFUSED: Final = "ref IS NULL AND error IS NOT NULL"

_UNUSABLE: Final = (sqlite3.Error, OSError, ValueError)
"""The file cannot be reached or is damaged, or a value is no text (a ValueError)."""

Note: TypeAlias = Mapping[str, Any]
"""What is noted of a submission before the engine is asked: the columns and their values."""

Answer: TypeAlias = tuple[str, str | None, str | None]
"""A key with its job's reference, or why it was refused; with neither its outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission. Neither `ref` nor `error`: its outcome is unknown."""

    engine: str  #: how its references begin: ``backend://profile``
    key: str
    name: str
    job_set: str
    spec: dict[str, Any]
    cwd: str  #: where it was submitted: the paths of a job may be relative
    asked_at: float  #: when the engine was first asked; of an accepted one, when it answered
    ref: str | None
    error: str | None

    @property
    def unknown(self) -> bool:
        """The engine was asked, and its answer never came."""
        return self.ref is None and self.error is None


class Journal:
    """The file. Safe from several threads and processes; no method raises."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._lock = threading.Lock()
        self._warned = False

    def asked(
        self, engine: str, scope: Sequence[str], submissions: Iterable[Submission]
    ) -> dict[str, Note]:
        """Note these submissions before the engine is asked; returns the notes by their keys.

        A submit that is open keeps its own spec when its key is used for another, and its time:
        it is the one that has to be settled. One that was refused is replaced.
        """
        notes = {note["key"]: note for note in _notes(engine, scope, submissions)}
        self._write(
            "INSERT INTO submissions (engine, scope, key, name, job_set, spec, cwd, asked_at)"
            " VALUES (:engine, :scope, :key, :name, :job_set, :spec, :cwd, :asked_at)"
            " ON CONFLICT DO UPDATE SET error = NULL,"
            f" asked_at = iif({_OPEN}, asked_at, excluded.asked_at),"
            f" name = iif({_REFUSED}, excluded.name, name),"
            f" job_set = iif({_REFUSED}, excluded.job_set, job_set),"
            f" spec = iif({_REFUSED}, excluded.spec, spec),"
            f" cwd = iif({_REFUSED}, excluded.cwd, cwd)",
            list(notes.values()),
        )
        return notes

    def answered(self, notes: Mapping[str, Note], answers: Iterable[Answer]) -> None:
        """Note what came of what was asked; a submit whose outcome is unknown stays open.

        A refusal closes the submit of that very spec: of an open one with the same key and another
        spec it says nothing.
        """
        now = time.time()
        told = [
            {**notes[key], "asked_at": now, "ref": ref, "error": error}
            for key, ref, error in answers
        ]
        one = " WHERE engine = :engine AND scope = :scope AND key = :key"
        self._write(
            "UPDATE submissions SET ref = :ref, error = NULL, asked_at = :asked_at,"
            " name = :name, job_set = :job_set, spec = :spec, cwd = :cwd"
            f"{one} AND ref IS NOT :ref",
            [row for row in told if row["ref"] is not None],
        )
        self._write(
            f"UPDATE submissions SET error = :error{one} AND (ref IS NOT NULL OR spec = :spec)",
            [row for row in told if row["error"] is not None],
        )

    def entries(
        self,
        *,
        since: float = 0.0,
        until: float = float("inf"),
        job_set: str | None = None,
        ref: str | None = None,
        key: str | None = None,
    ) -> list[Entry]:
        """The submissions between these times, of that set, reference, key; the newest first."""
        values = {"since": since, "until": until, "job_set": job_set, "ref": ref, "key": key}
        query = (
            "SELECT engine, key, name, job_set, spec, cwd, asked_at, ref, error FROM submissions"
            " WHERE asked_at >= :since AND asked_at < :until"
            " AND (:job_set IS NULL OR job_set = :job_set) AND (:ref IS NULL OR ref = :ref)"
            " AND (:key IS NULL OR key = :key) ORDER BY asked_at DESC, rowid DESC"
        )
        return self._read(query, values)

    def problem(self) -> str:
        """Why it cannot be used, in one line; empty if it can."""
        try:
            with self._database():
                return ""
        except _UNUSABLE as error:
            return f"{self.path}: {error}"

    def _read(self, query: str, values: dict[str, Any]) -> list[Entry]:
        try:
            if not self.path.exists():
                return []
            with self._database() as database:
                return [_entry(row) for row in database.execute(query, values)]
        except _UNUSABLE as error:
            self._warn(error)
            return []

    def _write(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        try:
            with self._lock, self._database() as database, database:
                database.executemany(statement, rows)
        except _UNUSABLE as error:
            self._warn(error)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(self.path, timeout=10)) as database:
            database.execute("PRAGMA journal_mode = PERSIST")  # half the time of a commit; unlike
            database.execute("PRAGMA synchronous = NORMAL")  # WAL it works on a network's disk
            database.execute(_SCHEMA)
            yield database

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            text = "the journal %s cannot be used (%s); jobs are not affected"
            log.warning(text, self.path, error)
        self._warned = True


def default_path() -> Path:
    """``journal.sqlite3`` in the user's state directory, or under ``BATCHBRIDGE_STATE_DIR``."""
    import platformdirs

    named = os.environ.get("BATCHBRIDGE_STATE_DIR")
    return Path(named or platformdirs.user_state_dir("batchbridge")) / "journal.sqlite3"


def _notes(engine: str, scope: Sequence[str], submissions: Iterable[Submission]) -> Iterator[Note]:
    """The columns that the submitter knows."""
    shared = {
        "engine": engine,
        "scope": json.dumps(scope),
        "cwd": _cwd(),
        "asked_at": time.time(),
    }
    for submission in submissions:
        spec = submission.spec
        yield shared | {
            "key": submission.key,
            "name": spec.name,
            "job_set": submission.job_set,
            "spec": json.dumps(spec.to_json()),
        }


def _entry(row: Sequence[Any]) -> Entry:
    engine, key, name, job_set, spec, cwd, *rest = row
    return Entry(engine, key, name, job_set, json.loads(spec), os.fsdecode(cwd), *rest)


def _cwd() -> bytes:
    """As bytes, since a directory's name need not be text."""
    try:
        return bytes(Path.cwd())
    except OSError:  # it was removed
        return b""
