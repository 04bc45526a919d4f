"""Submissions of the tests, and what becomes of them for Armada."""

from __future__ import annotations

from batchbridge.model import JobSpec, Secret, Submission
from batchbridge_armada import ArmadaDriver
from batchbridge_armada.settings import ArmadaSettings

MANIFEST = """
apiVersion: v1
kind: Pod
spec:
  nodeSelector: {zone: a}
  containers:
  - {name: sidecar, image: proxy}
  - name: main
    image: theirs
    resources: {limits: {cpu: 2, memory: 1Gi}}
"""


def submission(*, files=None, job_set="s", key="k", secrets=None, **fields):
    form = {"command": "true", "image": "busybox", **fields}
    named = {name: Secret(value) for name, value in (secrets or {}).items()}
    spec = JobSpec.parse(form)
    return Submission(key, spec, job_set, "user", files=files, secrets=named)


def rendered(*, settings=None, **fields):
    driver = ArmadaDriver(ArmadaSettings(queue="q", **(settings or {})))
    return driver.render(submission(**fields))


def pod_of(**fields):
    return rendered(**fields)["pod_specs"][0]


def container(**fields):
    return pod_of(**fields)["containers"][0]
