"""A user's own pod, and ours laid over it."""

from __future__ import annotations

import json

import pytest

from batchbridge.errors import SpecError
from batchbridge.fields import options_from
from batchbridge_armada import jobspec
from batchbridge_armada.settings import ArmadaOptions
from tests.drivers.armada.rendering import MANIFEST, pod_of, rendered

KEPT = "-----BEGIN-----"


@pytest.mark.parametrize("form", ["mapping", "YAML", "JSON", "file"])
def test_a_template_is_a_mapping_a_text_or_a_file(tmp_path, form):
    spec = {"nodeSelector": {"zone": "a"}}
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    forms = {
        "mapping": spec,
        "YAML": MANIFEST,
        "JSON": json.dumps(spec),
        "file": str(tmp_path / "pod.yaml"),
    }
    assert pod_of(options={"pod": forms[form]})["nodeSelector"] == {"zone": "a"}


def test_the_template_s_container_of_our_name_is_ours():
    main, sidecar = pod_of(image=None, cpu=0.5, options={"pod": MANIFEST})["containers"]
    assert (main["name"], main["image"], sidecar["name"]) == ("main", "theirs", "sidecar")
    assert main["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}


def test_what_of_a_template_does_not_stand_is_told():
    own = {
        "restartPolicy": "Always",
        "priorityClassName": "theirs",
        "terminationGracePeriodSeconds": 5,
        "tolerations": [{"key": "a"}],
        "containers": [
            {
                "name": "worker",
                "image": "theirs",
                "command": ["sleep"],
                "args": ["1"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 2}},
            }
        ],
    }
    asked = {"pod": own, "priority_class": "ours"}
    pod = pod_of(env={"A": "3"}, options=asked)
    (note,) = jobspec.notes(options_from(ArmadaOptions, asked), pod)
    assert note.endswith(
        ": restartPolicy, priorityClassName, main.image, main.command, main.args, main.env.A,"
        " main.resources.requests.cpu"
    )


def test_a_template_that_stands_whole_is_no_news():
    asked = {"pod": {"nodeSelector": {"a": "b"}}}
    assert not jobspec.notes(options_from(ArmadaOptions, asked), pod_of(options=asked))
    assert not jobspec.notes(ArmadaOptions(), {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"containers": "x"}, "options.pod.containers"),
        ({"containers": [{"env": {}}]}, "options.pod.containers"),
        ({"containers": [{"ports": [{"name": "http"}]}]}, "options.pod.containers.*containerPort"),
        ({"terminationGracePeriodSeconds": None}, "options.pod.terminationGracePeriodSeconds"),
        ({"terminationGracePeriodSeconds": "abc"}, "options.pod.terminationGracePeriodSeconds"),
        ({"nodeSelector": ["a"]}, "options.pod.nodeSelector"),
        ("no/such/file.yaml", "cannot be read"),
        ("a: [\n", "neither YAML nor JSON: line 2: did not find expected node content$"),
        ("a: b\n\x01", "neither YAML nor JSON: .+$"),
        ("- a\n- b\n", "is no pod spec"),
        ({"kind": "Job", "spec": {}}, "is no pod spec"),
        ({"kind": "Pod", "spec": None}, "options.pod.spec"),
    ],
)
def test_a_template_that_is_none(given, words):
    with pytest.raises(SpecError, match=words) as caught:
        rendered(options={"pod": given})
    assert caught.value.path.startswith("options.pod")
