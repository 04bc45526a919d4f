from __future__ import annotations

import pytest

from batchbridge.duties import Duties
from batchbridge.errors import AuthError, TransportError
from batchbridge.model import JobRef

from .fakes import Fake


class Holding(Fake):
    def __init__(self):
        super().__init__()
        self.released: list[str] = []

    def release(self, refs):
        self.released += [ref.id for ref in refs]


def ref(job_id: str) -> JobRef:
    return JobRef("fake", "p", (), job_id)


def test_what_cannot_be_asked_is_kept_and_keeps_nothing_else_from_being_asked():
    driver = Holding()
    driver.cancel_failures = [TransportError("not now")]
    duties = Duties(driver)
    duties.end(ref("a"), "TIMEOUT")
    duties.end(ref("b"), "UNSCHEDULABLE")
    duties.release(ref("c"))
    with pytest.raises(TransportError):
        duties.ask()
    assert (driver.calls.cancels, driver.released) == ([("b",)], ["c"])
    duties.ask()
    assert (driver.calls.cancels, driver.released) == ([("b",), ("a",)], ["c"])
    assert (duties.ends, duties.releases) == (False, False)


def test_what_was_asked_for_again_meanwhile_is_asked_for_its_later_reason():
    driver = Holding()
    duties = Duties(driver)

    def cancel(refs, *, reason):
        duties.end(ref("a"), "CANCELLED")
        raise AuthError("you may not")

    driver.cancel = cancel
    duties.end(ref("a"), "TIMEOUT")
    with pytest.raises(AuthError):
        duties.ask()
    del driver.cancel
    duties.ask()
    assert driver.calls.reasons == ["CANCELLED"]


def test_what_is_forgotten_is_not_asked():
    driver = Holding()
    duties = Duties(driver)
    duties.end(ref("a"), "TIMEOUT")
    duties.release(ref("a"))
    duties.forget(ref("a"))
    duties.ask()
    assert (driver.calls.cancels, driver.released) == ([], [])


def test_a_lasting_failure_is_told_once(caplog):
    duties = Duties(Holding())
    for _ in range(5):
        duties.failed(AuthError("you may not"))
    assert caplog.text.count("does not hear") == 1
