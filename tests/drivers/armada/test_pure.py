"""What is computed without Armada: job specs, pages of logs, ids, reasons, errors, settings."""

from __future__ import annotations

import json
import subprocess
import sys

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge.errors import (
    AuthError,
    BatchBridgeError,
    ConfigError,
    RateLimited,
    SpecError,
    TransportError,
)
from batchbridge.fields import options_from
from batchbridge.model import Files, JobRef, JobSpec, Submission
from batchbridge_armada import ArmadaDriver, explain, ids, jobspec, logs, replies
from batchbridge_armada.channel import encrypted
from batchbridge_armada.loglines import parse_reply
from batchbridge_armada.logs import Cursor, LogLine
from batchbridge_armada.refusals import Missing, NoQueue, NotStarted, Refused, Unauthorized
from batchbridge_armada.settings import ArmadaOptions, ArmadaSettings
from batchbridge_armada.wire import item
from tests.drivers.armada.cluster import expanded, ulid

SCOPE = ("q", "s")


def rendered(*, files=None, job_set="s", key="k", **fields):
    form = {"command": "true", "image": "busybox", **fields}
    submission = Submission(key, JobSpec.parse(form), job_set, "user", files=files)
    options = options_from(ArmadaOptions, submission.spec.options)
    return jobspec.item(submission, options, scope=("q", job_set), namespace="default")


def container(**fields):
    return rendered(**fields)["pod_specs"][0]["containers"][0]


# -- job specs ------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_client_id_in_its_scope_only():
    assert rendered()["client_id"] == rendered(command="false")["client_id"]
    others = [rendered(key="other"), rendered(job_set="other")]
    assert rendered()["client_id"] not in [other["client_id"] for other in others]
    assert len(rendered(key="x" * 500)["client_id"]) <= 100


def test_requests_are_limits():
    resources = container(cpu=0.24, memory="2G", disk="1G", gpu=2)["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"] == {
        "cpu": "240m",
        "memory": str(2 << 30),
        "ephemeral-storage": str(1 << 30),
        "nvidia.com/gpu": "2",
    }


def test_a_job_that_asks_for_nothing_asks_for_something():
    assert container()["resources"]["limits"]


@given(st.text(alphabet="$()ABa ", max_size=12), st.text(alphabet="$()A", max_size=8))
def test_kubernetes_leaves_every_word_as_it_was(word, value):
    found = container(command=["sh", "-c", word], env={"A": value})
    (env,) = found["env"]
    assert expanded(found["command"][2], {"A": "changed", "B": "changed"}) == word
    assert expanded(env["value"], {"A": "changed"}) == value


@pytest.mark.parametrize("reruns", [True, False])
def test_a_job_may_run_but_once_unless_it_says_otherwise(reruns):
    notes = rendered(reruns=reruns)["annotations"]
    assert notes.get("armadaproject.io/failFast") == (None if reruns else "true")
    assert notes["batchbridge/reruns"] == str(reruns).lower()


def test_a_timeout_is_the_pod_s_deadline():
    assert rendered(timeout="90s")["pod_specs"][0]["activeDeadlineSeconds"] == 90


def test_a_pod_of_the_user_s_lies_under_ours():
    own = {
        "schedulerName": "mine",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "containers": [
            {"image": "own", "args": ["gone"], "env": [{"name": "OWN", "value": "1"}]},
            {"name": "sidecar", "image": "proxy"},
        ],
    }
    options = {"pod": own, "node_selector": {"zone": "a"}, "tolerations": [{"key": "ours"}]}
    pod = rendered(env={"OURS": "2"}, options=options)["pod_specs"][0]
    main, sidecar = pod["containers"]
    assert (main["name"], main["image"], sidecar["name"]) == ("main", "busybox", "sidecar")
    assert [one["name"] for one in main["env"]] == ["OWN", "OURS"]
    assert "args" not in main
    assert pod["schedulerName"] == "mine"
    assert pod["nodeSelector"] == {"disk": "ssd", "zone": "a"}
    assert [one["key"] for one in pod["tolerations"]] == ["own", "ours"]


def test_what_a_service_or_an_ingress_leads_to_is_a_port_of_the_command():
    options = {
        "services": [{"ports": [8080, 9090]}],
        "ingress": [{"ports": [8080], "tls": True}],
        "pod": {"containers": [{"ports": [{"containerPort": 9090, "name": "own"}]}]},
    }
    values = rendered(options=options)
    message = item(values)
    assert [port.containerPort for port in message.pod_specs[0].containers[0].ports] == [9090, 8080]
    assert list(message.services[0].ports) == [8080, 9090]
    assert message.ingress[0].tls_enabled


def test_files_travel_in_the_command():
    files = Files("d" * 64, 3, data=b"abc")
    shell, flag, script = container(files=files, workdir="/w")["command"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert "YWJj" in script
    assert "workingDir" not in container(files=files, workdir="/w")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"labels": {"bad key!": "x"}}, "labels"),
        ({"labels": {"key": "x" * 64}}, "labels"),
        ({"image": None}, "image"),
        ({"options": {"annotations": {"batchbridge/key": "x"}}}, "options.annotations"),
        (
            {"env": {"A": "1"}, "options": {"secret_env": {"A": {"secret": "s", "key": "k"}}}},
            "options.secret_env",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(fields, path):
    with pytest.raises(SpecError) as caught:
        rendered(**fields)
    assert caught.value.path == path


def test_what_is_rendered_is_json_and_becomes_the_message():
    values = rendered(
        options={
            "volumes": [{"path": "/x", "source": {"emptyDir": {"sizeLimit": "1Gi"}}}],
            "secret_env": {"T": {"secret": "s", "key": "k"}},
            "pod": {"containers": [{"livenessProbe": {"httpGet": {"port": 80, "path": "/"}}}]},
        }
    )
    assert json.loads(json.dumps(values)) == values
    pod = item(values).pod_specs[0]
    main = pod.containers[0]
    assert pod.volumes[0].volumeSource.emptyDir.sizeLimit.string == "1Gi"
    assert main.env[0].valueFrom.secretKeyRef.localObjectReference.name == "s"
    assert main.livenessProbe.handler.httpGet.port.intVal == 80


def test_a_field_that_kubernetes_does_not_know_is_named():
    with pytest.raises(SpecError, match="nodeSelectr"):
        item(rendered(options={"pod": {"nodeSelectr": {"a": "b"}}}))


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
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", TransportError),
        ("INTERNAL", "Failed to send events to Pulsar", TransportError),
        ("UNKNOWN", "failed to connect to `host=localhost`", TransportError),
        ("UNKNOWN", "user x cannot perform action cancel on queue q", AuthError),
        ("UNKNOWN", '[x-request-id: 1] could not find queue "q"', NoQueue),
        ("PERMISSION_DENIED", 'could not find queue "q"', NoQueue),
        ("PERMISSION_DENIED", "user x cannot perform action submit on queue q", AuthError),
        ("NOT_FOUND", "[GetJobSetEvents] Queue q does not exist", NoQueue),
        ("NOT_FOUND", "The pod with these logs doesn't exist", Missing),
        ("UNKNOWN", 'container "main" is waiting to start: ContainerCreating', NotStarted),
        ("UNAUTHENTICATED", "Request unauthenticated with bearer", Unauthorized),
        ("INVALID_ARGUMENT", "namespace is a required field", Refused),
        ("RESOURCE_EXHAUSTED", "too many", RateLimited),
        ("UNIMPLEMENTED", "unknown service api.Submit", ConfigError),
    ],
)
def test_each_failure_has_its_error(code, words, kind):
    problem = replies.problem(Failure(grpc.StatusCode[code], words), "host:1")
    assert type(problem) is kind
    assert words in str(problem)
    assert isinstance(problem, BatchBridgeError)


@pytest.mark.parametrize(
    "given",
    [
        {"address": "localhost"},
        {"token": "t", "username": "u"},
        {"password": "p"},
        {"client_cert": "c"},
        {"request_timeout": 0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(given):
    with pytest.raises(ValueError, match=r"."):
        ArmadaSettings(**given)


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


def test_the_driver_is_listed_without_its_client_library():
    """Importing it must not take the time that gRPC takes, nor fail where that is broken."""

    code = "import sys, batchbridge_armada; print([m for m in sys.modules if m == 'grpc'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hints_lead_to_the_job():
    driver = ArmadaDriver(ArmadaSettings(lookout="http://lookout.example/"))
    ref = JobRef("armada", "p", SCOPE, "01j")
    assert driver.hints(ref) == {
        "lookout": "http://lookout.example/jobs/01j",
        "logs": "kubectl -n default logs armada-01j-0",
    }
