"""What is computed without Armada: pages of logs, ids, reasons, errors, settings."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    RateLimited,
    TransportError,
)
from batchbridge.model import JobRef
from batchbridge_armada import ArmadaDriver, explain, ids, logs, namespaces, replies
from batchbridge_armada.channel import encrypted
from batchbridge_armada.loglines import parse_reply
from batchbridge_armada.logs import Cursor, LogLine
from batchbridge_armada.refusals import Missing, NoQueue, NotStarted, Refused, Unauthorized
from batchbridge_armada.settings import ArmadaSettings
from tests.drivers.armada.cluster import ulid

SCOPE = ("q", "s")


# -- logs -----------------------------------------------------------------------------------------


def line(second, text, fraction="000000000"):
    return LogLine(f"2026-11-21T10:00:{second:02}.{fraction}Z", text)


def read(written, answers, cursor=None):
    """The text that pages give while ever more of `written` is there, asked as Binoculars is."""
    told = []
    for there in answers:
        at = Cursor.parse(cursor)
        reply = [one for one in written[:there] if one.stamp[:19] >= at.stamp[:19]]
        found = logs.page(reply, at, ended=False)
        told += found.data.splitlines()
        cursor = found.cursor
    return told


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b"])), max_size=30),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_each_line_is_told_once_and_in_order_however_many_share_a_time(written, looks):
    lines = [line(second, text) for second, text in sorted(written, key=lambda pair: pair[0])]
    assert read(lines, [*sorted(looks), len(lines)]) == [one.text for one in lines]


def test_lines_that_went_with_an_older_file_are_told_to_be_missing():
    first = logs.page([line(1, b"a")], Cursor(), ended=False)
    rotated = logs.page([line(1, b"c", "5")], Cursor.parse(first.cursor), ended=False)
    assert (first.truncated, rotated.data, rotated.truncated) == (False, b"c\n", True)
    on = logs.page([line(1, b"c", "5"), line(2, b"d")], Cursor.parse(rotated.cursor), ended=False)
    assert (on.data, on.truncated) == (b"d\n", False)


def test_trailing_zeros_make_no_other_time():
    first = logs.page([line(1, b"a", "100000000")], Cursor(), ended=False)
    again = [LogLine("2026-11-21T10:00:01.1Z", b"a"), line(1, b"b", "100000001")]
    assert logs.page(again, Cursor.parse(first.cursor), ended=False).data == b"b\n"


def test_an_answer_that_was_cut_is_continued():
    big = [line(second, b"x" * 700_000) for second in range(3)]
    half = LogLine(big[2].stamp, b"x" * 600_000)
    first = logs.page([*big[:2], half], Cursor(), ended=True)
    assert (first.data, first.eof) == (b"x" * 700_000 + b"\n" + b"x" * 700_000 + b"\n", False)
    rest = logs.page(big[1:], Cursor.parse(first.cursor), ended=True)
    assert rest.data == b"x" * 700_000 + b"\n"
    last = logs.page(big[2:], Cursor.parse(rest.cursor), ended=True)
    assert (last.data, last.eof) == (b"", True)


def test_more_than_an_answer_holds_in_one_second_is_told_to_be_missing():
    full = [line(1, b"x" * 999_000), line(1, b"y" * 999_000), line(1, b"z" * 2_000)]
    first = logs.page(full, Cursor(), ended=True)
    gap = logs.page(full, Cursor.parse(first.cursor), ended=True)
    assert (gap.data, gap.truncated, gap.eof) == (b"", True, False)
    on = logs.page([line(2, b"later")], Cursor.parse(gap.cursor), ended=True)
    assert on.data == b"later\n"


def test_what_is_no_text_can_be_read():
    stamp, text = b"2026-11-21T10:00:00Z", b"caf\xe9 \xff"
    inner = b"\x0a" + bytes([len(stamp)]) + stamp + b"\x12" + bytes([len(text)]) + text
    assert parse_reply(b"\x0a" + bytes([len(inner)]) + inner) == (LogLine(stamp.decode(), text),)


# -- ids, reasons, settings -----------------------------------------------------------------------


@given(st.integers(0, 2**47))
def test_an_id_tells_when_its_job_was_submitted(milliseconds):
    assert ids.submitted_at(ulid(milliseconds / 1000)) == pytest.approx(
        milliseconds / 1000, abs=0.01
    )


@pytest.mark.parametrize("job_id", ["", "bb-1", "01m7yxg7xg143xhe6w17wehg4", "u" * 26])
def test_what_is_no_id_of_armada_s_has_no_time(job_id):
    assert ids.submitted_at(job_id) is None


def test_messages_are_ordered_by_their_ids():
    told = ["9:0:0:1", "10:0:1:0", "10:0:2:1", "10:1:0:1"]
    assert sorted(told, key=ids.sequence) == told
    assert ids.sequence("10:0") is None
    assert ids.sequence(ids.position(12.5)) == (12500, 0, 0)


REPORT = """default:
 Most recent scheduling round that affected job 01m7yxrcgrs1pn24b7p2jrvxxd:
  Time:                2026-11-21 11:27:14.733059311 +0000 UTC m=+89.575123955
  Job ID:              01m7yxrcgrs1pn24b7p2jrvxxd
  UnschedulableReason: resource limit exceeded
"""
"""GetJobReport of Armada 207cc9e04, of a job for which the queue had no share left."""

NOTHING = """default:
 Most recent scheduling round that affected job 01m7yxg7xg143xhe6w18g55wdk: none
"""


def test_a_report_explains():
    assert explain.waiting(REPORT).summary == "resource limit exceeded"
    assert explain.waiting(REPORT).remedy
    assert explain.waiting(NOTHING) is None


class Failure(grpc.RpcError, grpc.Call):
    """A failed call."""

    def __init__(self, code, details):
        self._said = code, details

    def code(self):
        return self._said[0]

    def details(self):
        return self._said[1]


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", TransportError),
        ("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", AuthError),
        ("UNAVAILABLE", "Failed to create security handshaker.", AuthError),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", TransportError),
        ("INTERNAL", "Failed to send events to Pulsar", TransportError),
        ("INTERNAL", "grpc: error unmarshalling request: quantities must match", Refused),
        ("UNKNOWN", "failed to connect to `host=localhost`", TransportError),
        ("UNKNOWN", "user x cannot perform action cancel on queue q", AuthError),
        ("UNKNOWN", '[x-request-id: 1] could not find queue "q"', NoQueue),
        ("PERMISSION_DENIED", 'could not find queue "q"', NoQueue),
        ("PERMISSION_DENIED", "user x cannot perform action submit on queue q", AuthError),
        ("NOT_FOUND", "[GetJobSetEvents] Queue q does not exist", NoQueue),
        ("NOT_FOUND", "The pod with these logs doesn't exist", Missing),
        ("UNKNOWN", 'container "main" is waiting to start: ContainerCreating', NotStarted),
        ("UNKNOWN", 'pods "armada-1-0" is forbidden: User "bob" cannot get pods/log', AuthError),
        (
            "UNAVAILABLE",
            "Custom verification check: Hostname Verification Check failed.",
            AuthError,
        ),
        ("UNAUTHENTICATED", "Request unauthenticated with bearer", Unauthorized),
        ("INVALID_ARGUMENT", "namespace is a required field", Refused),
        ("RESOURCE_EXHAUSTED", "too many", RateLimited),
        ("UNIMPLEMENTED", "unknown service api.Submit", ConfigError),
    ],
)
def test_each_failure_has_its_error(code, words, kind):
    problem = replies.problem(Failure(grpc.StatusCode[code], words), "Armada at host:1")
    assert type(problem) is kind
    assert words in str(problem)
    assert isinstance(problem, BatchBridgeError)


@pytest.mark.parametrize(
    "given",
    [
        {"address": "localhost"},
        {"address": "http://armada.example:50051"},
        {"address": "armada.example:"},
        {"binoculars": "logs.example"},
        {"binoculars": "{cluster}.logs.example:443"},
        {"binoculars_of": {"a": "logs.example"}},
        {"token": "t", "username": "u"},
        {"password": "p"},
        {"client_cert": "c"},
        {"request_timeout": 0},
        {"oidc_provider": "https://sso.example"},
        {"oidc_client_id": "c"},
        {"oidc_client_secret": "s"},
        {"oidc_provider": "https://sso.example", "oidc_client_id": "c", "token": "t"},
        {"armadactl_context": "c"},
        {"armadactl_config": "f", "address": "armada.example:443"},
        {"armadactl_config": "f", "username": "u"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(given):
    with pytest.raises(ValueError, match=r"."):
        ArmadaSettings(**given)


@pytest.mark.parametrize("place", ["a:1", "[::1]:443", "dns:///armada.example:443"])
def test_a_place_has_a_host_and_a_port(place):
    settings = ArmadaSettings(address=place, binoculars="{cluster_id}-" + place)
    assert settings.address == place


@pytest.mark.parametrize(
    ("tls", "address", "expected"),
    [
        ("auto", "localhost:1", False),
        ("auto", "127.0.0.1:1", False),
        ("auto", "armada.example:443", True),
        ("off", "armada.example:443", False),
        ("on", "localhost:1", True),
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear_unless_asked(tls, address, expected):
    assert encrypted(ArmadaSettings(tls=tls), address) is expected


def test_hints_lead_to_the_job():
    driver = ArmadaDriver(ArmadaSettings(lookout="http://lookout.example/"))
    ref = JobRef("armada", "p", SCOPE, "01j")
    assert driver.hints(ref) == {"lookout": "http://lookout.example/jobs/01j"}


def test_the_namespaces_of_the_jobs_that_were_handed_over_last_are_known(monkeypatch):
    monkeypatch.setattr(namespaces, "KEPT", 2)
    kept = namespaces.Namespaces()
    kept.keep({"1": "a", "2": "b"})
    kept.keep({"3": "c"})
    assert [kept.of(job_id) for job_id in "123"] == [None, "b", "c"]
