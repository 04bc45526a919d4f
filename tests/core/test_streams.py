from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batchbridge.errors import TransportError
from batchbridge.streams import bridged


def test_items_arrive_in_order_and_the_end_ends():
    assert [item for item in bridged(lambda: [1, 2, 3], lambda: None) if item] == [1, 2, 3]


def test_silence_yields_none_and_closing_breaks_the_read():
    broken = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        broken.wait(30)

    stream = bridged(source, broken.set)
    assert next(stream) == 1
    assert next(stream) is None
    stream.close()
    assert broken.is_set()


def test_an_error_is_raised_after_the_items_before_it():
    def source() -> Iterator[int]:
        yield 1
        raise TransportError("cut")

    stream = bridged(source, lambda: None)
    assert next(stream) == 1
    with pytest.raises(TransportError, match="cut"):
        next(stream)


def test_a_reader_that_falls_behind_gets_a_gap_not_a_full_memory():
    stream = bridged(lambda: iter(range(1000)), lambda: None, capacity=10)
    seen = []

    def read_slowly() -> None:
        for item in stream:
            seen.append(item)
            threading.Event().wait(0.01)

    with pytest.raises(TransportError, match="behind"):
        read_slowly()
    assert seen == list(range(len(seen)))
    assert len(seen) < 1000
