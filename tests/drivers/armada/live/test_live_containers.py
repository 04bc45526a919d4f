"""What only containers show: images, volumes, users, containers beside ours, traffic."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
import requests

from batchbridge import Client
from batchbridge.errors import AuthError
from batchbridge.model import Cause, JobState
from batchbridge_armada import ArmadaDriver
from tests.drivers.armada.helpers import until
from tests.drivers.armada.live.doors import strict_binoculars
from tests.drivers.armada.live.test_live_any import running

DEFAULT = "/api/v1/namespaces/default"
PRIVATE = "BATCHBRIDGE_LIVE_ARMADA_PRIVATE"
"""Names ``IMAGE SECRET``: an image that is pulled with that secret of Kubernetes' alone."""


@pytest.fixture(autouse=True)
def _containers(containers):
    """On nothing else."""


@pytest.fixture
def private():
    if not os.environ.get(PRIVATE):
        pytest.skip(f"{PRIVATE} names no image")
    return os.environ[PRIVATE].split()


def output(job):
    text = b"".join(chunk.data for chunk in job.logs()).decode()
    assert job.wait(timeout=120).state is JobState.SUCCEEDED, job.record
    return text


def volume(path, **source):
    return {"path": path, "source": source}


@contextmanager
def made(kubernetes, kind, **content):
    """The name of an object of that kind with that content, which is there meanwhile."""
    name, place = f"live-{uuid4().hex}", f"{DEFAULT}/{kind.lower()}s"
    value = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}
    kubernetes.create(place, value)
    try:
        yield name
    finally:
        kubernetes.delete(f"{place}/{name}")


# -- images ----------------------------------------------------------------------------------


def test_a_command_has_the_programs_and_the_files_of_its_image(submit):
    assert output(submit("busybox | head -n 1; ls /")).startswith("BusyBox v")


def test_an_image_that_is_not_there_is_told_in_the_words_of_the_kubelet(submit):
    image = f"busybox:{uuid4().hex}"
    record = submit(image=image).wait(timeout=300)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.IMAGE)
    assert f'Failed to pull image "{image}"' in record.message
    assert "not found" in record.message


def test_a_private_image_is_pulled_with_its_secret_alone(submit, private):
    image, secret = private
    options = {"pod": {"containers": [{"imagePullPolicy": "Always"}]}}  # the node may have it
    record = submit(image=image, options=options).wait(timeout=300)
    assert (record.state, record.cause) == (JobState.FAILED, Cause.IMAGE)
    job = submit("echo pulled", image=image, options={"image_pull_secrets": [secret], **options})
    assert output(job) == "pulled\n"


# -- the pod ---------------------------------------------------------------------------------


def test_secrets_and_settings_of_kubernetes_are_files(submit, kubernetes):
    with (
        made(kubernetes, "Secret", stringData={"key": "hidden"}) as secret,
        made(kubernetes, "ConfigMap", data={"place": "berlin"}) as config,
    ):
        volumes = [
            volume("/secret", secret={"secretName": secret}),
            volume("/config", configMap={"name": config}) | {"read_only": True},
        ]
        job = submit("cat /secret/key; echo; cat /config/place", options={"volumes": volumes})
        assert output(job) == "hidden\nberlin\n"


def test_memory_is_a_volume(submit):
    shm = volume("/dev/shm", emptyDir={"medium": "Memory", "sizeLimit": "8Mi"})
    job = submit("df -P /dev/shm | tail -n 1", options={"volumes": [shm]})
    assert re.match(r"tmpfs +8192 ", output(job))


def test_a_directory_of_the_node_outlives_the_job(submit, shared, tmp_path):
    assert output(submit(f"echo kept > {tmp_path}/file", options=shared)) == ""
    assert (tmp_path / "file").read_text() == "kept\n"


def test_a_claimed_volume_is_kept_from_job_to_job(submit, kubernetes, shared, tmp_path):
    """The volume is a directory of the one node."""
    name = f"live-{uuid4().hex}"
    size = {"resources": {"requests": {"storage": "1Mi"}}}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    spec = {**common, "capacity": {"storage": "1Mi"}, "hostPath": {"path": str(tmp_path)}}
    volumes = "/api/v1/persistentvolumes"
    head = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    kubernetes.create(volumes, {**head, "spec": spec})
    claimed = {**common, **size, "volumeName": name}
    try:
        with made(kubernetes, "PersistentVolumeClaim", spec=claimed) as claim:
            options = {"volumes": [volume("/kept", persistentVolumeClaim={"claimName": claim})]}
            assert output(submit("echo one > /kept/file", options=options)) == ""
            assert output(submit("cat /kept/file", options=options)) == "one\n"
    finally:
        kubernetes.delete(f"{volumes}/{name}")


def test_a_volume_that_is_not_there_keeps_the_job_pending(submit):
    gone = volume("/gone", configMap={"name": f"gone-{uuid4().hex}"})
    job = submit(start_timeout=10, options={"volumes": [gone]})
    assert job.wait(timeout=120).cause is Cause.START_ERROR


def test_a_user_without_rights_runs_the_command(submit):
    pod = {
        "securityContext": {"runAsUser": 1234, "runAsGroup": 99, "runAsNonRoot": True},
        "containers": [{"securityContext": {"readOnlyRootFilesystem": True}}],
    }
    job = submit('id -u; id -g; touch /file || echo "no"', options={"pod": pod})
    assert output(job).splitlines()[:2] == ["1234", "99"]
    assert "no\n" in output(job)


SMALL = {"cpu": "10m", "memory": "16Mi"}
BOTH = [{"name": "both", "mountPath": "/both"}]


def beside(script, **more):
    """A container of a template, that shares a directory with the command."""
    small = {"requests": SMALL, "limits": SMALL}
    common = {"image": "busybox", "volumeMounts": BOTH, "resources": small}
    return {"name": f"c{uuid4().hex[:8]}", "command": ["sh", "-c", script], **common, **more}


def with_others(**more):
    """The options of a job with containers beside its own."""
    main = {"name": "main", "volumeMounts": BOTH}
    containers = [main, *more.pop("containers", ())]
    volumes = [{"name": "both", "emptyDir": {}}]
    return {"pod": {"volumes": volumes, "containers": containers, **more}}


def test_an_init_container_goes_before_the_command(submit):
    options = with_others(initContainers=[beside("echo before > /both/file")])
    assert output(submit("cat /both/file", options=options)) == "before\n"


def test_the_job_ends_as_the_command_does_whatever_is_beside_it(submit):
    options = with_others(containers=[beside("echo not ours; echo there > /both/file")])
    wait = "until [ -e /both/file ]; do sleep 0.1; done; echo ours; exit 3"
    job = submit(wait, options=options)
    assert b"".join(chunk.data for chunk in job.logs()) == b"ours\n"
    record = job.wait(timeout=120)
    assert (record.cause, record.exit_code) == (Cause.EXIT_CODE, 3)


def test_a_sidecar_that_goes_on_ends_with_the_command(submit):
    options = with_others(initContainers=[beside("exec sleep 600", restartPolicy="Always")])
    assert output(submit("echo done", options=options)) == "done\n"


def test_the_node_s_own_processes_can_be_seen_where_a_template_says_so(submit):
    job = submit("ps | grep -c kubelet", options={"pod": {"hostPID": True}})
    assert int(output(job)) >= 1


def test_what_a_command_leaves_behind_ends_with_it(submit):
    job = submit("sleep 600 & echo done")
    assert output(job) == "done\n"


# -- traffic ---------------------------------------------------------------------------------


@pytest.fixture
def served(submit, kubernetes):
    """``served("NodePort")``: a job that serves a page at its port 8080 behind such a service."""
    if not kubernetes.is_here():
        pytest.skip("its nodes are not this machine, from which they are asked")

    def served(kind):
        serve = "echo well > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
        job = submit(serve, options={"services": [{"ports": [8080], "type": kind}]})
        running(job)
        return job

    yield served
    for job in submit.jobs:
        job.cancel()


def of(job, found):
    """The objects that were made for that job."""
    return [one for one in found if job.ref.id in one["metadata"]["name"]]


def answers(address):
    """Whether the page is there."""
    try:
        return requests.get(f"http://{address}/index.html", timeout=2).text == "well\n"
    except requests.ConnectionError:
        return False


def test_a_service_leads_to_the_command(served, kubernetes):
    job = served("Headless")
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

    def ready():
        ends = [end for one in of(job, kubernetes.items(slices)) for end in one["endpoints"] or ()]
        return [end["addresses"][0] for end in ends if end["conditions"].get("ready")]

    (address,) = until(ready, patience=60)
    assert until(lambda: answers(f"{address}:8080"), patience=60)


def test_a_port_of_the_node_leads_to_the_command(served, kubernetes):
    (service,) = of(served("NodePort"), kubernetes.items(f"{DEFAULT}/services"))
    (port,) = service["spec"]["ports"]
    (node, *_) = kubernetes.nodes()
    address = node["status"]["addresses"][0]["address"]
    assert until(lambda: answers(f"{address}:{port['nodePort']}"), patience=60)


# -- rights ----------------------------------------------------------------------------------


def test_who_may_not_read_a_pod_s_log_is_told_so(submit, state, settings, tmp_path):
    job = submit("echo hidden")
    job.wait(timeout=120)
    with strict_binoculars(state, tmp_path) as address:
        strict = replace(settings, binoculars=address)
        denied = pytest.raises(AuthError, match="Kubernetes does not allow this")
        with Client(driver=ArmadaDriver(strict), journal=False) as client, denied as caught:
            list(client.attach(job.ref).logs())
    assert 'cannot get resource "pods/log"' in str(caught.value)


# -- output ----------------------------------------------------------------------------------


def test_a_long_line_is_one_line(submit):
    """What runs containers keeps a line in pieces of 16 KiB."""
    assert output(submit("head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")) == (
        f"{'x' * 100_000}\nend\n"
    )


def test_output_without_a_line_end_is_told(submit):
    assert output(submit("printf rest")).removesuffix("\n") == "rest"


@pytest.mark.slow
def test_output_that_a_node_keeps_no_longer_is_said_to_be_lost(submit):
    """30 MB: of a file that has more than 10 a node begins another, and Kubernetes reads that."""
    block = f"seq $((i * 10000)) $((i * 10000 + 9999)) | sed 's/$/ {'x' * 90}/'; sleep 1"
    job = submit(f"i=0; while [ $i -lt 30 ]; do {block}; i=$((i+1)); done", cpu=0.5)
    expected = 0
    for chunk in job.logs():
        numbers = [int(line.split()[0]) for line in chunk.data.splitlines()]
        assert chunk.truncated or not numbers or numbers[0] == expected
        assert numbers == list(range(numbers[0], numbers[-1] + 1) if numbers else ())
        expected = numbers[-1] + 1 if numbers else expected
    assert expected == 300_000
