"""What a submission becomes for Armada: the item, its pod, and a template under it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbridge.errors import SpecError
from batchbridge.model import Files
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.orders import Orders
from batchbridge_armada.settings import ArmadaSettings
from batchbridge_armada.wire import POD_LIMIT, item
from tests.drivers.armada.cluster import expanded
from tests.drivers.armada.rendering import MANIFEST, container, pod_of, rendered, submission

KEPT = "-----BEGIN-----"


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
    with pytest.raises(SpecError, match=r"^options\.pod: there is no 'nodeSelectr'$"):
        rendered(options={"pod": {"nodeSelectr": {"a": "b"}}})


def test_what_no_submit_would_send_is_not_rendered_either():
    with pytest.raises(SpecError, match=f"Armada takes {POD_LIMIT}"):
        rendered(command=["echo", "x" * POD_LIMIT])


# -- the pod --------------------------------------------------------------------------------------


def test_sigterm_reaches_the_command():
    """Process 1 of a container ignores it; where processes are shared the command is another."""
    assert pod_of()["shareProcessNamespace"] is True
    assert (
        pod_of(options={"pod": {"shareProcessNamespace": False}})["shareProcessNamespace"] is False
    )


def test_processes_are_shared_with_the_pod_or_with_the_node():
    """Kubernetes refuses a pod that wants both."""
    assert pod_of(options={"pod": {"hostPID": True}})["shareProcessNamespace"] is False


def test_the_command_is_the_container_s_own_process():
    """No shell stands between it and its signals; one that unpacks files gives way to it."""
    assert container(command=["python", "x.py"])["command"] == ["python", "x.py"]
    script = container(command=["python", "x.py"], files=Files("d" * 64, 3, data=b"abc"))["command"]
    assert script[2].splitlines()[-1] == "exec python x.py"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 30),
        ({"pod": {"terminationGracePeriodSeconds": 5}}, 5),
        ({"pod": {"terminationGracePeriodSeconds": 5}, "grace": "90s"}, 90),
    ],
)
def test_the_time_between_sigterm_and_sigkill(options, expected):
    assert pod_of(options=options)["terminationGracePeriodSeconds"] == expected


def test_other_resources_are_asked_for_too():
    resources = container(cpu=1, options={"resources": {"example.com/fpga": "2"}})["resources"]
    assert resources["requests"] == {"example.com/fpga": "2", "cpu": "1000m"}
    assert resources["limits"] == resources["requests"]


def test_what_a_pod_may_be_asked_for():
    options = {
        "namespace": "team",
        "priority": 7,
        "priority_class": "armada-preemptible",
        "service_account": "robot",
        "image_pull_secrets": ["registry"],
        "annotations": {"note": "x"},
        "external_job_uri": "metaflow://flow/1",
        "gang_label": "rack",
        "secret_names": ["bundle"],
    }
    values = rendered(options=options, labels={"team": "a"}, timeout=1.5)
    pod = item(values).pod_specs[0]
    assert (values["namespace"], values["priority"]) == ("team", 7)
    assert values["external_job_uri"] == "metaflow://flow/1"
    assert (values["labels"], values["annotations"]["note"]) == ({"team": "a"}, "x")
    assert (pod.priorityClassName, pod.serviceAccountName) == ("armada-preemptible", "robot")
    assert pod.imagePullSecrets[0].name == "registry"
    assert pod.activeDeadlineSeconds == 2
    assert pod.containers[0].envFrom[0].secretRef.localObjectReference.name == "bundle"


# -- secrets --------------------------------------------------------------------------------------


def test_a_secret_has_no_place_in_a_pod_unless_somebody_says_so():
    with pytest.raises(SpecError) as caught:
        rendered(secrets={"A": KEPT})
    assert caught.value.path == "secrets"
    assert "secret_env" in caught.value.remedy
    assert "allow_plain_credentials" in caught.value.remedy
    assert KEPT not in str(caught.value)


def test_a_secret_that_may_be_seen_is_not_shown_for_that():
    allowed = {"allow_plain_credentials": True}
    (env,) = container(secrets={"A": KEPT}, settings=allowed)["env"]
    assert env == {"name": "A", "value": "***"}


def test_one_name_has_one_value():
    options = {"secret_env": {"A": {"secret": "s", "key": "k"}}}
    allowed = {"allow_plain_credentials": True}
    with pytest.raises(SpecError, match="named in env or secrets"):
        rendered(secrets={"A": KEPT}, options=options, settings=allowed)


# -- the message ----------------------------------------------------------------------------------

TEXT = st.text(alphabet="ab$()é ", min_size=1, max_size=6)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "pod": st.sampled_from(
            [{"containers": [{"env": [{"name": "Z", "value": "1"}]}]}, MANIFEST]
        ),
        "secret_env": st.just({"S": {"secret": "s", "key": "k"}}),
        "annotations": st.just({"note": "x"}),
        "services": st.just([{"ports": [80]}]),
    },
)


@given(
    st.lists(TEXT, min_size=1, max_size=3), st.dictionaries(st.sampled_from("ABC"), TEXT), OPTIONS
)
def test_what_is_sent_is_what_is_rendered(command, env, options):
    """Though it is made of a part that many jobs share, and of a job's own."""
    driver = ArmadaDriver(ArmadaSettings(queue="q"))
    job = submission(command=command, env=env, options=options)
    orders = Orders(driver._writer, driver._api)
    for _ in range(2):
        assert orders.order(job).message == item(driver.render(job))


def test_jobs_that_differ_share_only_what_they_have_in_common():
    """A field of a job that is new must not be taken for another job's."""
    driver = ArmadaDriver(ArmadaSettings(queue="q"))
    orders = Orders(driver._writer, driver._api)
    asked = {
        "cpu": 2,
        "memory": "1G",
        "disk": "1G",
        "gpu": 1,
        "image": "other",
        "workdir": "/w",
        "timeout": 9,
        "labels": {"a": "b"},
        "options": {"priority": 3},
        "reruns": True,
        "command": "false",
        "env": {"A": "1"},
        "name": "n",
    }
    jobs = [submission(), *(submission(**{name: value}) for name, value in asked.items())]
    for job in (*jobs, *jobs):
        assert orders.order(job).message == item(driver.render(job))
