"""Log pages from frames: rotation, growth, resumption; every byte once and in order."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge_nomad import logs
from batchbridge_nomad.logs import Astray, Cursor, collect, frames, part_of


class Rotated:
    """Log files as Nomad keeps and sends them."""

    def __init__(self, *files: bytes, oldest: int = 0, frame: int = 4) -> None:
        self.files, self.oldest, self.frame = files, oldest, frame

    def answer(self, offset):
        for number, data in enumerate(self.files, self.oldest):
            start, offset = min(offset, len(data)), max(0, offset - len(data))
            for at in range(start, len(data), self.frame):
                some = data[at : at + self.frame]
                # Nomad counts whole frames, and so says too much of a file's last one.
                end = at + self.frame if at > start else at + len(some)
                yield logs.Frame(some, f"alloc/logs/main.stdout.{number}", end)

    def ask(self, origin, offset):
        total = sum(map(len, self.files))
        return nullcontext(self.answer(offset if origin == "start" else max(0, total - offset)))


def read(log, cursor):
    return part_of(cursor, log.ask)


def test_frames_are_cut_anywhere():
    sent = [{"Data": base64.b64encode(b"ab").decode(), "File": "x.1", "Offset": 2}, {}]
    body = "".join(map(json.dumps, sent)).encode()
    for cut in range(len(body)):
        found = list(frames([body[:cut], body[cut:]]))
        assert [(f.data, f.file) for f in found] == [(b"ab", "x.1"), (b"", "")]


def test_a_cursor_is_read_as_it_was_written():
    assert Cursor.parse(str(Cursor(3, 5, 8))) == Cursor(3, 5, 8)
    assert Cursor.parse(None) == Cursor()


def test_files_are_read_in_order():
    part = read(Rotated(b"aaaaaa", b"bb"), Cursor())
    assert (part.data, part.gap, part.whole) == (b"aaaaaabb", False, True)
    assert part.after == Cursor(1, 2, 8)


def test_what_grew_is_read_from_where_the_last_page_ended():
    after = read(Rotated(b"aaaaaa", b"bb"), Cursor()).after
    part = read(Rotated(b"aaaaaa", b"bbb", b"c"), after)
    assert (part.data, part.after) == (b"bc", Cursor(2, 1, 10))


def test_what_rotation_took_is_reported():
    part = read(Rotated(b"c" * 8, oldest=2), Cursor(0, 3, 3))
    assert (part.data, part.gap) == (b"c" * 8, True)


def test_a_file_that_was_lost_before_anything_was_read_is_reported():
    part = read(Rotated(b"bb", oldest=1), Cursor())
    assert (part.data, part.gap) == (b"bb", True)


def test_rotation_that_took_only_what_was_read_is_no_gap():
    """The offset leads astray, and the answer from the oldest file on makes up for it."""
    before = read(Rotated(b"a" * 8, b"b" * 8), Cursor()).after
    part = read(Rotated(b"b" * 8, b"c" * 20, oldest=1), before)
    assert (part.data, part.gap) == (b"c" * 20, False)


def test_a_page_ends_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(logs, "PAGE", 6)
    log, cursor, pages = Rotated(b"abcdefghij", b"klm"), Cursor(), []
    while True:
        part = read(log, cursor)
        pages.append(part.data)
        cursor = part.after
        if part.whole:
            break
    assert pages == [b"abcdefgh", b"ijklm"]


@pytest.mark.parametrize("offset", [3, 6])
def test_a_first_frame_that_is_elsewhere_leads_astray(offset):
    with pytest.raises(Astray):
        collect(Rotated(b"aaaaaaaaaa", oldest=2).answer(offset), Cursor(0, 3, offset))


@given(
    size=st.integers(2, 30),
    kept=st.integers(2, 4),
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
def test_no_byte_is_doubled_or_lost_unsaid(size, kept, steps):
    """A log grows and rotates between pages; what is read is it, but for reported gaps."""
    text = bytes(n % 251 for n in range(sum(steps)))
    cursor, read_up_to, length = Cursor(), 0, 0
    for step in steps:
        length += step
        part = read(grown(text[:length], size, kept), cursor)
        start = length - len(part.data)
        assert part.data == text[start:length]
        assert part.gap if start > read_up_to else start == read_up_to
        read_up_to, cursor = length, part.after


def grown(text, size, kept):
    """The files of that size in which so many bytes are kept."""
    files = [text[at : at + size] for at in range(0, len(text), size)]
    oldest = max(0, len(files) - kept)
    return Rotated(*files[oldest:], oldest=oldest, frame=7)
