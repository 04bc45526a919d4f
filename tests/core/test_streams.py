from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from batchbridge.errors import AuthError, TransportError
from batchbridge.streams import HELD, bridged, mapped, merged


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


def test_what_one_call_yields_comes_while_another_has_not_ended():
    read = threading.Event()

    def call(number: int):
        yield number
        assert read.wait(20)
        yield number + 10

    results = merged(call, [1, 2], workers=2)
    assert sorted([next(results), next(results)]) == [1, 2]
    read.set()
    assert sorted(results) == [11, 12]


def test_after_the_first_error_what_others_yield_is_not_read_on():
    failed, read = threading.Event(), []

    def call(number: int):
        if number:
            failed.set()
            raise TransportError("no")
        assert failed.wait(20)
        for count in range(10_000):
            time.sleep(0.001)
            read.append(count)
            yield count

    with pytest.raises(TransportError, match="no"):
        list(merged(call, [0, 1], workers=2))
    assert len(read) < 10_000


def test_ctrl_c_waits_for_no_call():
    answered, ended = threading.Event(), threading.Event()

    def call(number: int) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        answered.wait(20)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        list(mapped(call, [1], workers=1))
    assert not ended.is_set()
    answered.set()
    assert ended.wait(20)


def test_what_others_come_to_is_told_before_an_error_is_raised():
    others = threading.Barrier(4)

    def call(number: int) -> int:
        others.wait(20)
        if number == 0:
            raise AuthError("your token has expired")
        return number

    results = mapped(call, range(4), workers=4)
    assert sorted(islice(results, 3)) == [1, 2, 3]
    with pytest.raises(AuthError):
        next(results)


def test_of_several_errors_the_one_that_leaves_doubt_is_raised():
    both = threading.Barrier(2)

    def call(number: int) -> int:
        both.wait(20)
        raise TransportError("no answer", sent=True) if number else AuthError("no")

    for _ in range(20):
        with pytest.raises(TransportError):
            list(mapped(call, range(2), workers=2))


def test_those_who_call_wait_for_a_slow_reader():
    made = []

    def call(number: int) -> int:
        made.append(number)
        return number

    results = mapped(call, range(1000), workers=2)
    next(results)
    time.sleep(0.1)
    assert len(made) <= HELD + 4
    assert len(list(results)) == 999
