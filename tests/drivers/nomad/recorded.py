"""What was recorded, as the driver would read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from batchbridge.model import Seen
from batchbridge.states import Change, Record, fold
from batchbridge_nomad import jobs, translate, wire
from batchbridge_nomad.book import Book

HOME = Path(__file__).with_name("recordings")
NAMES = sorted(path.stem for path in HOME.glob("*.json"))


def recording(name: str) -> dict[str, Any]:
    return json.loads((HOME / f"{name}.json").read_text())


def listed(made: dict[str, Any]) -> translate.Known:
    """What the lists say at the end."""
    job = wire.read(made["job"], wire.Job)
    return jobs.known(job, wire.read(made["allocations"], tuple[wire.Alloc, ...]))


def evaluations(made: dict[str, Any]) -> tuple[wire.Evaluation, ...]:
    return wire.read(made["evaluations"], tuple[wire.Evaluation, ...])


def streamed(made: dict[str, Any]) -> list[Seen]:
    """What the stream says, line by line, of a job that was just registered."""
    told: list[Seen] = []
    book_after(made, told)
    return told


def book_after(made: dict[str, Any], told: list[Seen] | None = None) -> translate.Known:
    """What is known after all lines; `told` takes what is said on the way."""
    book, fresh = Book(), {**made["job"], "Stop": False, "Status": "pending"}
    known = book.enter(jobs.known(wire.read(fresh, wire.Job), []))
    for line in made["lines"]:
        for known in book.told(wire.line(msgspec.json.encode(line))):
            if told is not None:
                told += translate.history(known)
    return known


def folded(observations: list[Seen] | tuple[Seen, ...]) -> tuple[Record, list[Change]]:
    record, changes = Record(observations[0].id), []
    for observation in observations:
        record, news = fold(record, observation)
        changes += news
    return record, changes
