"""The Kubernetes whose pods are processes, asked as Armada's executor and its Binoculars ask."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from armada_client.k8s.io.api.core.v1 import generated_pb2 as core_pb2
from armada_client.k8s.io.apimachinery.pkg.api.resource import generated_pb2 as resource_pb2
from armada_client.k8s.io.apimachinery.pkg.runtime import generated_pb2 as runtime_pb2

from localdev.kubernetes.__main__ import NODE, add_node
from localdev.kubernetes.containers import expanded, quantity
from localdev.kubernetes.pods import Node
from localdev.kubernetes.server import Server
from localdev.kubernetes.store import Name, Problem, Store, merge
from localdev.kubernetes.wire import MAGIC, decode

POD = {"apiVersion": "v1", "kind": "Pod"}
PODS = "/api/v1/namespaces/default/pods"


class Kubernetes:
    """One that runs, and the questions of these tests."""

    def __init__(self, root: Path) -> None:
        self.store = Store()
        add_node(self.store, cpu=4)
        self.node = Node(self.store, NODE, root)
        self.server = Server(0, self.store, self.node)
        self._thread = threading.Thread(target=self.server.serve_forever, args=[0.05])
        self._thread.start()

    def close(self) -> None:
        self.node.close()
        self.server.over = True
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        return requests.request(
            method, self.server.address + path, json=body, params=query, timeout=30
        )

    def run(self, *command: str, **spec: Any) -> str:
        """Make a pod; its name."""
        name = f"pod-{time.monotonic_ns()}"
        container = {"name": "main", "image": "busybox", "command": list(command)}
        container |= spec.pop("container", {})
        pod = {**POD, "metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        answer = self.ask("POST", PODS, pod)
        assert answer.status_code == 200, answer.text
        return name

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"{PODS}/{name}").json()
        return found

    def until(self, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The pod, once that holds of it."""
        deadline = time.monotonic() + 30
        while not holds(pod := self.pod(name)):
            assert time.monotonic() < deadline, pod
            time.sleep(0.05)
        return pod

    def ended(self, name: str) -> dict[str, Any]:
        """Its status, once it has ended."""
        pod = self.until(name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))
        status: dict[str, Any] = pod["status"]
        return status

    def log(self, name: str, **query: Any) -> str:
        return self.ask("GET", f"{PODS}/{name}/log", **query).text


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    kubernetes = Kubernetes(tmp_path)
    yield kubernetes
    kubernetes.close()


def terminated(status):
    return status["containerStatuses"][0]["state"]["terminated"]


def running(pod):
    return pod["status"]["phase"] == "Running"


# -- pods ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "phase", "code", "reason"),
    [
        (["true"], "Succeeded", 0, "Completed"),
        (["sh", "-c", "exit 3"], "Failed", 3, "Error"),
        (["sh", "-c", "kill -9 $$$$"], "Failed", 137, "Error"),
        (["/no/such/program"], "Failed", 128, "StartError"),
    ],
)
def test_a_pod_ends_as_its_command_does(kubernetes, command, phase, code, reason):
    status = kubernetes.ended(kubernetes.run(*command))
    assert status["phase"] == phase
    assert (terminated(status)["exitCode"], terminated(status)["reason"]) == (code, reason)


def test_what_may_be_used_is_enforced(kubernetes):
    hungry = "import time; kept = b'x' * 200_000_000; time.sleep(60)"
    memory = kubernetes.run(
        "python3", "-c", hungry, container={"resources": {"limits": {"memory": "100Mi"}}}
    )
    disk = kubernetes.run(
        "sh",
        "-c",
        "head -c 3000000 /dev/zero > big; exec sleep 60",
        container={"resources": {"limits": {"ephemeral-storage": "1Mi"}}},
    )
    late = kubernetes.run("sleep", "60", activeDeadlineSeconds=1)
    assert terminated(kubernetes.ended(memory))["reason"] == "OOMKilled"
    assert kubernetes.ended(disk)["reason"] == "Evicted"
    assert kubernetes.ended(late)["reason"] == "DeadlineExceeded"


def test_variables_and_secrets_reach_the_command(kubernetes):
    of = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    secret = {**of, "stringData": {"key": "hidden"}}
    kubernetes.ask("POST", "/api/v1/namespaces/default/secrets", secret)
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)b $(NONE) $$(A)"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
    ]
    container = {"env": env, "envFrom": [{"secretRef": {"name": "s"}}]}
    name = kubernetes.run("sh", "-c", 'echo "$A|$B|$C|$key|${HOME-unset}"', container=container)
    kubernetes.ended(name)
    assert kubernetes.log(name).endswith(" a|ab $(NONE) $(A)|hidden|hidden|unset\n")


def test_a_pod_waits_for_what_it_cannot_have(kubernetes):
    wanted = [{"name": "C", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "key"}}}]
    secret = kubernetes.run("true", container={"env": wanted})
    image = kubernetes.run("true", container={"image": "https://no.image"})
    pull = kubernetes.run("true", container={"image": "registry.invalid/none:1"})
    reasons = {
        secret: "CreateContainerConfigError",
        image: "InvalidImageName",
        pull: "ErrImagePull",
    }
    for name, reason in reasons.items():

        def waits(pod, reason=reason):
            state = pod["status"]["containerStatuses"][0]["state"]
            return state.get("waiting", {}).get("reason") == reason

        kubernetes.until(name, waits)
        answer = kubernetes.ask("GET", f"{PODS}/{name}/log")
        assert answer.status_code == 400
        assert f"is waiting to start: {reason}" in answer.json()["message"]
    events = kubernetes.ask("GET", "/api/v1/events").json()["items"]
    told = {event["involvedObject"]["name"]: event["message"] for event in events}
    assert told[secret] == 'secret "gone" not found'
    assert 'Failed to pull image "registry.invalid/none:1"' in told[pull]


def test_a_pod_is_deleted_within_its_grace(kubernetes):
    said = "trap 'exit 7' TERM; while :; do sleep 0.1; done"
    name = kubernetes.run("sh", "-c", said)
    kubernetes.until(name, running)
    answer = kubernetes.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 20}).json()
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 20
    deadline = time.monotonic() + 15
    while kubernetes.ask("GET", f"{PODS}/{name}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pod_that_does_not_listen_is_killed(kubernetes):
    name = kubernetes.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    kubernetes.until(name, running)
    kubernetes.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
    deadline = time.monotonic() + 15
    while kubernetes.ask("GET", f"{PODS}/{name}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"initContainers": [{"name": "first"}]}, "init containers"),
        ({"container": {"volumeMounts": [{"mountPath": "/x"}]}}, "volumes"),
        ({"container": {"command": []}}, "no command"),
    ],
)
def test_what_processes_cannot_be_is_refused(kubernetes, spec, said):
    container = {"name": "main", "image": "i", "command": ["true"], **spec.pop("container", {})}
    pod = {**POD, "metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}
    answer = kubernetes.ask("POST", PODS, pod)
    assert answer.status_code == 422
    assert said in answer.json()["message"]


# -- logs ------------------------------------------------------------------------------------


def test_logs_have_times_and_are_cut_where_it_is_asked(kubernetes):
    name = kubernetes.run("sh", "-c", "echo one; sleep 1.1; echo two >&2; printf three")
    kubernetes.ended(name)
    lines = kubernetes.log(name).splitlines()
    times = [line.split(" ", 1)[0] for line in lines]
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two", "three"]
    assert times == sorted(times)
    assert kubernetes.log(name, sinceTime=times[1]).splitlines() == lines[1:]
    assert kubernetes.log(name, tailLines=1).splitlines() == lines[2:]
    assert len(kubernetes.log(name, limitBytes=10)) == 10


# -- the API ---------------------------------------------------------------------------------


def test_a_watch_tells_what_happens_after_a_list(kubernetes):
    listed = kubernetes.ask("GET", "/api/v1/pods").json()
    name = kubernetes.run("true")
    kubernetes.ended(name)
    version = listed["metadata"]["resourceVersion"]
    answer = kubernetes.ask(
        "GET", "/api/v1/pods", watch="true", resourceVersion=version, timeoutSeconds=1
    )
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert told[0]["type"] == "ADDED"
    assert {change["type"] for change in told[1:]} == {"MODIFIED"}
    assert told[-1]["object"]["status"]["phase"] == "Succeeded"
    assert all(POD.items() <= change["object"].items() for change in told)
    versions = [int(change["object"]["metadata"]["resourceVersion"]) for change in told]
    assert versions == sorted(versions)


def test_objects_are_made_patched_and_deleted(kubernetes):
    path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
    of = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    kubernetes.ask("POST", path, {**of, "metadata": {"name": "i", "labels": {"a": "1"}}})
    assert kubernetes.ask("POST", path, {**of, "metadata": {"name": "i"}}).status_code == 409
    assert kubernetes.ask("POST", path, {"metadata": {"name": "j"}}).status_code == 400
    patch = {"metadata": {"labels": {"a": None, "b": "2"}}}
    kubernetes.ask("PATCH", f"{path}/i", patch)
    assert kubernetes.ask("GET", f"{path}/i").json()["metadata"]["labels"] == {"b": "2"}
    stale = {"preconditions": {"resourceVersion": "1"}}
    assert kubernetes.ask("DELETE", f"{path}/i", stale).status_code == 409
    assert kubernetes.ask("DELETE", f"{path}/i").status_code == 200
    assert kubernetes.ask("GET", f"{path}/i").json()["reason"] == "NotFound"
    assert kubernetes.ask("GET", "/nothing").status_code == 404


def test_a_watch_from_too_long_ago_is_gone(monkeypatch):
    monkeypatch.setattr("localdev.kubernetes.store.HISTORY", 3)
    store = Store()
    for number in range(4):
        store.create(Name("pods", "default", f"p{number}"), {})
    with pytest.raises(Problem, match="too old"):
        store.changes("pods", 1, 0)
    assert len(store.changes("pods", store.version - 1, 0)) == 1


def test_protobuf_is_read_as_json():
    pod = core_pb2.Pod()
    pod.metadata.name = "p"
    pod.metadata.creationTimestamp.SetInParent()
    container = pod.spec.containers.add(name="main", command=["true"])
    container.resources.limits["cpu"].CopyFrom(resource_pb2.Quantity(string="100m"))
    reference = container.env.add(name="A").valueFrom.secretKeyRef
    reference.localObjectReference.name = "s"
    reference.key = "k"
    pod.spec.activeDeadlineSeconds = 72
    unknown = runtime_pb2.Unknown(raw=pod.SerializeToString())
    unknown.typeMeta.kind, unknown.typeMeta.apiVersion = "Pod", "v1"
    assert decode(MAGIC + unknown.SerializeToString()) == {
        **POD,
        "metadata": {"name": "p", "creationTimestamp": None},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "command": ["true"],
                    "env": [
                        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
                    ],
                    "resources": {"limits": {"cpu": "100m"}},
                }
            ],
            "activeDeadlineSeconds": 72,
        },
    }
    unknown.typeMeta.kind = "Deployment"
    with pytest.raises(Problem, match="Deployment"):
        decode(MAGIC + unknown.SerializeToString())


@pytest.mark.parametrize(
    ("text", "number"), [("100m", 0.1), ("64Mi", 64 << 20), ("2", 2), ("1.5G", 1.5e9)]
)
def test_quantities(text, number):
    assert quantity(text) == pytest.approx(number)


def test_words_are_expanded_as_kubernetes_does():
    assert expanded("$(A) $$(A) $A $(B) $$$$", {"A": "a"}) == "a $(A) $A $(B) $$"


def test_a_merge_patch_leaves_the_rest():
    value = {"a": {"b": 1, "c": 2}, "d": 3}
    merge(value, {"a": {"b": None, "e": 4}})
    assert value == {"a": {"c": 2, "e": 4}, "d": 3}


def test_a_body_in_chunks_is_read_whole_and_the_connection_goes_on(kubernetes):
    """So kubectl sends what it creates."""
    parts = [b'{"apiVersion": "v1", "kind": "Secret", ', b'"metadata": {"name": "s"}}']
    place = f"{kubernetes.server.address}/api/v1/namespaces/default/secrets"
    with requests.Session() as session:
        session.post(place, data=iter(parts), timeout=10).raise_for_status()
        assert session.get(f"{place}/s", timeout=10).json()["metadata"]["name"] == "s"
