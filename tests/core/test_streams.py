from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batchbridge.errors import TransportError
from batchbridge.streams import bridged, mapped


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


def test_calls_are_made_at_once_and_each_result_comes():
    together = threading.Barrier(4)

    def call(number: int) -> int:
        together.wait(20)
        return number

    assert sorted(mapped(call, range(8), workers=4)) == list(range(8))


def test_the_first_error_of_a_call_is_raised_and_the_rest_is_not_begun():
    begun = []

    def call(number: int) -> int:
        begun.append(number)
        raise TransportError(str(number))

    with pytest.raises(TransportError, match="0"):
        list(mapped(call, range(100), workers=1))
    assert len(begun) < 100
