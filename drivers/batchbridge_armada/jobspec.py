"""Submission -> what SubmitJobs takes, as the JSON values of Armada's and Kubernetes' APIs. Pure.

The pod has one container of ours. What a later reader needs to know of the job stands in its
annotations, since Armada keeps them in every view of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from batchbridge.errors import SpecError
from batchbridge.model import JobSpec, Scope, Submission
from batchbridge_armada.script import command, escaped
from batchbridge_armada.settings import ArmadaOptions, Ingress, Service, Volume
from batchbridge_armada.template import given_way, main_and_others, spec_of

CONTAINER = "main"
"""The name of the container that runs the command."""

OURS = "batchbridge/"
"""How the names of our annotations begin."""

GRACE = 30
"""Seconds between SIGTERM and SIGKILL where nobody asks for another time."""

FAIL_FAST = "armadaproject.io/failFast"
GANG = "armadaproject.io/gang"

_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def client_id(scope: Scope, key: str) -> str:
    """By what Armada knows the same submit again: in a queue, whatever the job set."""
    return "bb-" + sha256("\0".join((*scope, key)).encode()).hexdigest()


class Own(NamedTuple):
    """What of an item is one job's own; the rest is the same for all that ask for the same."""

    client_id: str
    annotations: Mapping[str, str]
    command: Sequence[str]
    env: Mapping[str, str]  #: as Kubernetes must be told the values


def own(
    submission: Submission, options: ArmadaOptions, *, scope: Scope, secrets: Mapping[str, str]
) -> Own:
    """What is that job's own. `secrets` are the values that may stand in a pod for all to see."""
    values = {**submission.spec.env, **secrets}
    twice = values.keys() & options.secret_env.keys()
    if twice:
        raise SpecError(
            f"secret_env: {', '.join(sorted(twice))} is named in env or secrets too",
            path="options.secret_env",
        )
    return Own(
        client_id(scope, submission.key),
        kept_beside(submission, options),
        command(submission),
        {name: escaped(value) for name, value in values.items()},
    )


def shared(
    spec: JobSpec, options: ArmadaOptions, *, namespace: str, unpacks: bool
) -> dict[str, Any]:
    """The item without what is a job's own. SpecError where what is asked for cannot be written.

    `unpacks`: the command is a script that unpacks files first.
    """
    return _given(
        priority=options.priority,
        namespace=options.namespace or namespace,
        labels=labels(spec),
        external_job_uri=options.external_job_uri,
        services=[_given(type=s.type, ports=list(s.ports), name=s.name) for s in options.services],
        ingress=[_ingress(ingress) for ingress in options.ingress],
        pod_specs=[pod(spec, options, unpacks=unpacks)],
    )


def item(shared: Mapping[str, Any], own: Own) -> dict[str, Any]:
    """The JobSubmitRequestItem."""
    (pod,) = shared["pod_specs"]
    main, *others = pod["containers"]
    env = [*main.get("env", ()), *({"name": n, "value": v} for n, v in own.env.items())]
    main = {**main, "command": list(own.command), **_given(env=env)}
    return {
        "client_id": own.client_id,
        "annotations": dict(own.annotations),
        **shared,
        "pod_specs": [{**pod, "containers": [main, *others]}],
    }


def notes(options: ArmadaOptions, pod: Mapping[str, Any]) -> tuple[str, ...]:
    """What the submitter should know of that pod."""
    if not options.pod:
        return ()
    gone = given_way(spec_of(options.pod), pod, CONTAINER)
    said = f"of the pod's template, these gave way to what the job asks for: {', '.join(gone)}"
    return (said,) if gone else ()


def plain_secrets(submission: Submission, *, allowed: bool) -> dict[str, str]:
    """The values of the job's secrets. SpecError unless they may stand in its pod spec."""
    if submission.secrets and not allowed:
        raise SpecError(
            "secrets: Armada has no place for them but the pod spec, which others may read",
            path="secrets",
            remedy="name a Kubernetes secret (options secret_env, secret_names), use a service"
            " account, or set allow_plain_credentials",
        )
    return {name: secret.reveal() for name, secret in submission.secrets.items()}


def labels(spec: JobSpec) -> dict[str, str]:
    """The user's labels, which become the pod's."""
    for name, value in spec.labels.items():
        if not (_LABEL_NAME.fullmatch(name) and _LABEL.fullmatch(value)):
            raise SpecError(
                f"labels: Kubernetes takes no {name}={value}",
                path="labels",
                remedy="use up to 63 letters, digits, '-', '_' and '.', or options.annotations",
            )
    return dict(spec.labels)


def kept_beside(submission: Submission, options: ArmadaOptions) -> dict[str, str]:
    """What a later reader needs, and what Armada is told by annotation."""
    taken = next((name for name in options.annotations if name.startswith(OURS)), None)
    if taken:
        raise SpecError(f"annotations: {taken!r} begins with {OURS}", path="options.annotations")
    spec = submission.spec
    said = {
        "key": submission.key,
        "digest": submission.digest,
        "job-set": submission.job_set,
        "user": submission.user,
        "name": spec.name,
        "reruns": "true" if spec.reruns else "false",
    }
    return {
        **options.annotations,
        **{OURS + name: value for name, value in said.items() if value},
        **({} if spec.reruns else {FAIL_FAST: "true"}),
        **_gang(submission, options),
    }


def _gang(submission: Submission, options: ArmadaOptions) -> dict[str, str]:
    gang = submission.gang
    if gang is None or gang.size < 2:
        return {}
    said = {
        GANG + "Id": gang.id,
        GANG + "Cardinality": str(gang.size),
        GANG + "NodeUniformityLabel": options.gang_label,
    }
    return {name: value for name, value in said.items() if value}


def pod(spec: JobSpec, options: ArmadaOptions, *, unpacks: bool) -> dict[str, Any]:
    """The pod spec: ours over the user's own."""
    base = spec_of(options.pod)
    main, others = main_and_others(base, CONTAINER)
    ours = _given(
        activeDeadlineSeconds=math.ceil(spec.timeout) if spec.timeout else None,
        priorityClassName=options.priority_class,
        serviceAccountName=options.service_account,
        nodeSelector={**(base.get("nodeSelector") or {}), **options.node_selector},
        tolerations=[*base.get("tolerations", ()), *_tolerations(options)],
        imagePullSecrets=[*base.get("imagePullSecrets", ()), *_pull_secrets(options)],
        volumes=[*base.get("volumes", ()), *_volumes(options)],
    )
    return {
        # Process 1 of a container does not hear SIGTERM unless it handles it, and most programs do
        # not. Where processes are shared, process 1 is Kubernetes' own, and ours is an ordinary
        # one: SIGTERM ends it, or what its command does about it. In the node's own it is that too,
        # and Kubernetes refuses a pod that wants both.
        "shareProcessNamespace": not base.get("hostPID"),
        **base,
        "terminationGracePeriodSeconds": grace(options, base),
        "restartPolicy": "Never",
        **ours,
        "containers": [container(spec, options, main, unpacks=unpacks), *others],
    }


def grace(options: ArmadaOptions, base: Mapping[str, Any]) -> int:
    """Whole seconds between SIGTERM and SIGKILL."""
    if options.grace:
        return math.ceil(options.grace)
    seconds: int = base.get("terminationGracePeriodSeconds", GRACE)
    return seconds


def container(
    spec: JobSpec, options: ArmadaOptions, base: Mapping[str, Any], *, unpacks: bool
) -> dict[str, Any]:
    """The container that runs the command."""
    image = spec.image or base.get("image")
    if not image:
        raise SpecError(
            "image: Armada runs containers, and needs one", path="image", remedy="set image"
        )
    ours = _given(
        name=CONTAINER,
        image=image,
        workingDir=None if unpacks else spec.workdir,
        env=[*base.get("env", ()), *_secret_env(options)],
        envFrom=[*base.get("envFrom", ()), *_env_from(options)],
        ports=[*base.get("ports", ()), *_ports(options, base.get("ports", ()))],
        resources=resources(spec, options, base.get("resources") or {}),
        volumeMounts=[*base.get("volumeMounts", ()), *_mounts(options)],
    )
    return {**{k: v for k, v in base.items() if k not in ("args", "command")}, **ours}


def resources(spec: JobSpec, options: ArmadaOptions, base: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, as both request and limit: Armada takes nothing else."""
    asked = {
        "cpu": None if spec.cpu is None else f"{max(round(spec.cpu * 1000), 1)}m",
        "memory": None if spec.memory is None else str(spec.memory),
        "ephemeral-storage": None if spec.disk is None else str(spec.disk),
        options.gpu_resource: str(spec.gpu) if spec.gpu else None,
    }
    ours = {name: amount for name, amount in asked.items() if amount is not None}
    limits = {
        **base.get("requests", {}),
        **base.get("limits", {}),
        **options.resources,
        **ours,
    }
    # Armada fills in what is missing, but refuses a container that asks for nothing.
    limits = limits or {"cpu": "1"}
    return {**base, "requests": limits, "limits": limits}


def _secret_env(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.secret, "key": ref.key}}}
        for name, ref in options.secret_env.items()
    ]


def _env_from(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [{"secretRef": {"name": name}} for name in options.secret_names]


def _ports(options: ArmadaOptions, declared: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ports that services and ingresses lead to, but for those that are declared already."""
    exposed: tuple[Service | Ingress, ...] = (*options.services, *options.ingress)
    asked = {port for one in exposed for port in one.ports}
    asked -= {port["containerPort"] for port in declared}
    return [{"containerPort": port, "protocol": "TCP"} for port in sorted(asked)]


def _ingress(ingress: Ingress) -> dict[str, Any]:
    return _given(
        ports=list(ingress.ports),
        annotations=dict(ingress.annotations or {}),
        tls_enabled=ingress.tls or None,
        cert_name=ingress.certificate,
    )


def _tolerations(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [
        _given(key=t.key, operator=t.operator, value=t.value, effect=t.effect)
        for t in options.tolerations
    ]


def _pull_secrets(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [{"name": name} for name in options.image_pull_secrets]


def _volumes(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [{"name": _volume(n), **volume.source} for n, volume in enumerate(options.volumes)]


def _mounts(options: ArmadaOptions) -> list[dict[str, Any]]:
    return [_mount(n, volume) for n, volume in enumerate(options.volumes)]


def _mount(number: int, volume: Volume) -> dict[str, Any]:
    return {"name": _volume(number), "mountPath": volume.path, "readOnly": volume.read_only}


def _volume(number: int) -> str:
    return f"batchbridge-{number}"


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
