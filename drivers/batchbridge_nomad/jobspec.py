"""Submission -> Nomad job, as the JSON of its API. Pure.

The job is registered create-only, is never restarted or rescheduled by Nomad where the task fails,
and says in its Meta what a later reader needs to know of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from batchbridge.errors import SpecError
from batchbridge.model import JobSpec, Submission
from batchbridge_nomad.script import PLACE, script, secrets_template, template, unsafe
from batchbridge_nomad.settings import Affinity, Constraint, NomadOptions, Spread, Volume
from batchbridge_nomad.wire import TASK

CONTAINERS = ("docker", "podman")
"""Task drivers that run an image."""

LOG_FILES, LOG_MB = 5, 20
"""What Nomad keeps of each of stdout and stderr."""

PREFIX = "bb-"
"""How the id of every job begins."""

RESERVED = "batchbridge_"
"""How what we say of a job begins in its Meta; the rest are labels."""

_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Site:
    """What the job takes from the settings."""

    namespace: str
    region: str
    mhz_per_core: int


def job_id(key: str) -> str:
    """The id of the job of that key: the same for the same key, and safe wherever ids stand."""
    return PREFIX + (key if _SAFE.fullmatch(key) else sha256(key.encode()).hexdigest()[:40])


def payload(submission: Submission, options: NomadOptions, site: Site) -> dict[str, Any]:
    """What is sent to register it, and refused by Nomad if a job of that id is there."""
    return {
        "EnforceIndex": True,
        "JobModifyIndex": 0,
        "Job": job(submission, options, site),
    }


def job(submission: Submission, options: NomadOptions, site: Site) -> dict[str, Any]:
    """The job. SpecError where what is asked for does not go together."""
    spec = submission.spec
    return _given(
        ID=job_id(submission.key),
        Name=spec.name or job_id(submission.key),
        Type="batch",
        Namespace=site.namespace,
        Region=site.region or None,
        Datacenters=list(options.datacenters),
        NodePool=options.node_pool or None,
        Priority=options.priority,
        Meta=meta(submission),
        Constraints=constraints(options.constraints),
        Affinities=affinities(options.affinities),
        Spreads=spreads(options.spreads),
        TaskGroups=[group(submission, options, site)],
    )


def meta(submission: Submission) -> dict[str, str]:
    """What a later reader needs: whose job it is, of what work, and what it may do."""
    spec = submission.spec
    taken = next((name for name in spec.labels if name.startswith(RESERVED)), None)
    if taken:
        raise SpecError(f"labels: {taken!r} begins with {RESERVED}", path="labels")
    said = {
        "key": submission.key,
        "digest": submission.digest,
        "job_set": submission.job_set,
        "user": submission.user,
        "reruns": "true" if spec.reruns else "",
        "secrets": "true" if submission.secrets else "",
        "timeout": f"{math.ceil(spec.timeout)}" if spec.timeout else "",
    }
    return {**spec.labels, **{RESERVED + name: value for name, value in said.items() if value}}


def group(submission: Submission, options: NomadOptions, site: Site) -> dict[str, Any]:
    """The one group. Nomad runs it again only where it lost or stopped it itself."""
    spec = submission.spec
    logs = LOG_FILES * LOG_MB
    disk = _megabytes(spec.disk) if spec.disk else 200
    stay = {"LostAfter": _nanoseconds(options.lost_after), "Replace": False}
    return _given(
        Name=TASK,
        Count=1,
        RestartPolicy={"Attempts": 0, "Mode": "fail", "Interval": 86400 * 10**9, "Delay": 0},
        ReschedulePolicy={"Attempts": 0, "Unlimited": False},
        Disconnect=None if spec.reruns else {**stay, "Reconcile": "keep_original"},
        EphemeralDisk={"SizeMB": disk + logs},
        Networks=networks(options),
        Volumes={f"volume{n}": _volume(volume) for n, volume in enumerate(options.volumes)},
        Tasks=[task(submission, options, site)],
    )


def task(submission: Submission, options: NomadOptions, site: Site) -> dict[str, Any]:
    """The one task: the script, run by the task driver's shell."""
    spec, driver = submission.spec, task_driver(submission.spec, options)
    text = script(submission, contained=driver in CONTAINERS)
    hidden = unsafe(spec.env)
    return _given(
        Name=TASK,
        Driver=driver,
        Config=config(spec, options, driver),
        Env={name: value for name, value in spec.env.items() if name not in hidden},
        Templates=[template(text), *_secrets(submission)],
        Resources=resources(spec, options, site),
        KillSignal="SIGTERM",
        KillTimeout=_nanoseconds(options.kill_timeout),
        LogConfig={"MaxFiles": LOG_FILES, "MaxFileSizeMB": LOG_MB},
        VolumeMounts=[_mount(n, volume) for n, volume in enumerate(options.volumes)],
    )


def _secrets(submission: Submission) -> list[dict[str, Any]]:
    names = submission.secrets
    return [secrets_template(job_id(submission.key), names)] if names else []


def task_driver(spec: JobSpec, options: NomadOptions) -> str:
    """The task driver; SpecError where it and the image do not go together."""
    driver = options.driver or ("docker" if spec.image else "exec")
    if driver in CONTAINERS and not spec.image:
        raise SpecError(
            f"image: the task driver {driver} needs one", path="image", remedy="set image"
        )
    if spec.image and driver not in CONTAINERS:
        raise SpecError(
            f"image: the task driver {driver} runs none",
            path="image",
            remedy="leave image out, or use driver=docker",
        )
    return driver


def config(spec: JobSpec, options: NomadOptions, driver: str) -> dict[str, Any]:
    """The task driver's configuration: the user's, under what starts the script."""
    run = f"${{NOMAD_TASK_DIR}}/{PLACE.rpartition('/')[2]}"
    if driver not in CONTAINERS:
        return {**options.config, "command": "/bin/sh", "args": [run]}
    ours: dict[str, Any] = {"image": spec.image, "entrypoint": ["/bin/sh"], "args": [run]}
    if options.shm_size is not None:
        ours["shm_size"] = options.shm_size
    return {"init": True, **options.config, **ours}


def resources(spec: JobSpec, options: NomadOptions, site: Site) -> dict[str, Any]:
    """What is asked for; Nomad's default for what is not."""
    mhz = options.cpu_mhz
    if mhz is None and spec.cpu is not None and options.cores is None:
        mhz = math.ceil(spec.cpu * site.mhz_per_core)
    return _given(
        CPU=mhz,
        Cores=options.cores,
        MemoryMB=_megabytes(spec.memory) if spec.memory else None,
        MemoryMaxMB=_megabytes(options.memory_max) if options.memory_max else None,
        Devices=[_device(spec.gpu, options)] if spec.gpu else None,
    )


def constraints(asked: Sequence[Constraint]) -> list[dict[str, Any]]:
    """Constraints in Nomad's words."""
    return [{"LTarget": c.attribute, "RTarget": c.value, "Operand": c.operator} for c in asked]


def affinities(asked: Sequence[Affinity]) -> list[dict[str, Any]]:
    """Affinities in Nomad's words."""
    return [
        {"LTarget": a.attribute, "RTarget": a.value, "Operand": a.operator, "Weight": a.weight}
        for a in asked
    ]


def spreads(asked: Sequence[Spread]) -> list[dict[str, Any]]:
    """Spreads in Nomad's words."""
    return [
        {
            "Attribute": s.attribute,
            "Weight": s.weight,
            "SpreadTarget": [
                {"Value": value, "Percent": percent} for value, percent in (s.targets or {}).items()
            ],
        }
        for s in asked
    ]


def networks(options: NomadOptions) -> list[dict[str, Any]]:
    """The group's network, where one is asked for."""
    if not (options.network or options.ports):
        return []
    fixed = [{"Label": p.label, "Value": p.static, "To": p.to} for p in options.ports if p.static]
    free = [{"Label": p.label, "To": p.to} for p in options.ports if not p.static]
    return [_given(Mode=options.network or None, ReservedPorts=fixed, DynamicPorts=free)]


def _device(count: int, options: NomadOptions) -> dict[str, Any]:
    return _given(
        Name=options.device, Count=count, Constraints=constraints(options.device_constraints)
    )


def _volume(volume: Volume) -> dict[str, Any]:
    return _given(
        Type=volume.type,
        Source=volume.source,
        ReadOnly=volume.read_only,
        AccessMode=volume.access_mode or None,
        AttachmentMode=volume.attachment_mode or None,
    )


def _mount(number: int, volume: Volume) -> dict[str, Any]:
    return {
        "Volume": f"volume{number}",
        "Destination": volume.path,
        "ReadOnly": volume.read_only,
    }


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _megabytes(size: int) -> int:
    return math.ceil(size / (1 << 20))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def labels_of(meta: Mapping[str, str]) -> dict[str, str]:
    """The labels that a job was given."""
    return {name: value for name, value in meta.items() if not name.startswith(RESERVED)}
