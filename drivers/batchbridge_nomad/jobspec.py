"""Submission -> Nomad job, as the JSON of its API. Pure.

The job is registered create-only, is never restarted or rescheduled by Nomad where the task fails,
and says in its Meta what a later reader needs to know of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from batchbridge.errors import SpecError
from batchbridge.model import JobSpec, Submission
from batchbridge_nomad import secrets
from batchbridge_nomad.script import PLACE, check_names, script, template, unsafe
from batchbridge_nomad.settings import Affinity, Constraint, NomadOptions, Spread, Volume
from batchbridge_nomad.template import Block, main_task, over, without_region
from batchbridge_nomad.wire import TASK

CONTAINERS = ("docker", "podman")
"""Task drivers that run an image."""

LOGS = 100
"""Megabytes of disk that Nomad wants for the log files of a task."""

DEFAULTS: Block = {
    "TaskGroups": [
        {
            "EphemeralDisk": {"SizeMB": 200 + LOGS},
            "Tasks": [
                {
                    "Name": TASK,
                    "KillTimeout": 10 * 10**9,
                    "LogConfig": {"MaxFiles": 5, "MaxFileSizeMB": LOGS // 5},
                }
            ],
        }
    ]
}
"""What stands where neither a template nor the job says anything."""

ONCE: Block = {"Attempts": 0, "Mode": "fail", "Interval": 86400 * 10**9, "Delay": 0}
"""The restart policy of the group, and of the task: a template's for the task would beat it."""

PREFIX = "bb-"
"""How the id of every job begins."""

RESERVED = "batchbridge_"
"""How what we say of a job begins in its Meta; the rest are labels."""

_FILLED_IN = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
# As a part of a Variable's path, too: no dot.
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class Site:
    """What the job takes from the settings."""

    namespace: str
    region: str
    mhz_per_core: int


def job_id(key: str) -> str:
    """The id of the job of that key: the same for the same key, and safe wherever ids stand."""
    return PREFIX + (key if _SAFE.fullmatch(key) else sha256(key.encode()).hexdigest()[:40])


def payload(
    submission: Submission, options: NomadOptions, site: Site, base: Block | None = None
) -> Block:
    """What is sent to register it, and refused by Nomad if a job of that id is there.

    `base` is the job of a template; what it says stands where ours says nothing. SpecError where
    what is asked for does not go together.
    """
    ours = job(submission, options, site, main_task(base or {}))
    whole = over(over(DEFAULTS, without_region(base)), ours) if base else over(DEFAULTS, ours)
    check_names([*submission.spec.env, *main_task(whole).get("Env", {})])
    check_password(main_task(whole)["Config"])
    return {"EnforceIndex": True, "JobModifyIndex": 0, "Job": whole}


def job(submission: Submission, options: NomadOptions, site: Site, below: Block) -> Block:
    """The job, but for DEFAULTS. `below` is the task of a template."""
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
        TaskGroups=[group(submission, options, site, below)],
    )


def unused(spec: JobSpec, options: NomadOptions) -> Iterator[str]:
    """What is said to no effect, as sentences; a profile may say it for jobs of another kind."""
    if (options.device != NomadOptions().device or options.device_constraints) and not spec.gpu:
        yield "device and device_constraints say which; without gpu the job is given no device"


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


def group(submission: Submission, options: NomadOptions, site: Site, below: Block) -> Block:
    """The one group. Nomad runs it again only where it lost or stopped it itself."""
    spec = submission.spec
    stay = {"LostAfter": _nanoseconds(options.lost_after), "Replace": False}
    return _given(
        Name=TASK,
        Count=1,
        RestartPolicy=ONCE,
        ReschedulePolicy={"Attempts": 0, "Unlimited": False},
        Disconnect=None if spec.reruns else {**stay, "Reconcile": "keep_original"},
        EphemeralDisk={"SizeMB": _megabytes(spec.disk) + LOGS} if spec.disk else None,
        Networks=networks(options),
        Volumes={f"volume{n}": _volume(volume) for n, volume in enumerate(options.volumes)},
        Tasks=[task(submission, options, site, below)],
    )


def task(submission: Submission, options: NomadOptions, site: Site, below: Block) -> Block:
    """The one task: the script, run by the task driver's shell."""
    spec, driver = submission.spec, task_driver(submission.spec, options, below)
    contained, logging = driver in CONTAINERS, _configured(options, below).get("logging")
    text = script(submission, contained=contained, direct=contained and not logging)
    hidden, grace = unsafe(spec.env), options.kill_timeout
    return _given(
        Name=TASK,
        Driver=driver,
        Config=config(spec, options, driver, below),
        Env={name: value for name, value in spec.env.items() if name not in hidden},
        Templates=[template(text), *_hidden(submission, options)],
        RestartPolicy=ONCE,
        Vault=_vault(options),
        Resources=resources(spec, options, site),
        KillSignal="SIGTERM",
        KillTimeout=None if grace is None else _nanoseconds(grace),
        VolumeMounts=[_mount(n, volume) for n, volume in enumerate(options.volumes)],
    )


def _hidden(submission: Submission, options: NomadOptions) -> list[Block]:
    """What fills in the values that stand in no job. SpecError where a name has two sources."""
    own, spec = submission.secrets, submission.spec
    check_names([*own, *options.variables, *options.vault])
    _each_once(own, options.variables, options.vault, spec.env)
    return [
        *([secrets.own(job_id(submission.key), own)] if own else []),
        *([secrets.from_variables(options.variables)] if options.variables else []),
        *([secrets.from_vault(options.vault)] if options.vault else []),
    ]


def _each_once(*sources: Mapping[str, Any]) -> None:
    counted = Counter(name for source in sources for name in source)
    twice = next((name for name, times in counted.items() if times > 1), None)
    if twice:
        raise SpecError(f"{twice} has more than one source", path="options")


def _vault(options: NomadOptions) -> Block | None:
    if not (options.vault or options.vault_role or options.vault_namespace):
        return None
    role, namespace = options.vault_role or None, options.vault_namespace or None
    return _given(Role=role, Namespace=namespace, ChangeMode="noop")


def task_driver(spec: JobSpec, options: NomadOptions, below: Block) -> str:
    """The task driver; SpecError where it and the image do not go together."""
    usual = "docker" if spec.image else "exec"
    driver: str = options.driver or below.get("Driver") or usual
    image = spec.image or _configured(options, below).get("image")
    if driver in CONTAINERS and not image:
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


def _configured(options: NomadOptions, below: Block) -> Block:
    """What the user tells the task driver: the options, over the template."""
    return {**below.get("Config", {}), **options.config}


def config(spec: JobSpec, options: NomadOptions, driver: str, below: Block) -> Block:
    """The task driver's configuration: the user's, under what starts the script."""
    run = f"${{NOMAD_TASK_DIR}}/{PLACE.rpartition('/')[2]}"
    if driver not in CONTAINERS:
        _check_shm(options, driver)
        return {**options.config, "command": "/bin/sh", "args": [run]}
    init = below.get("Config", {}).get("init", True)
    starts = {"entrypoint": ["/bin/sh"], "args": [run]}
    asked = _given(image=spec.image, shm_size=_shm_size(options.shm_size, driver))
    return {"init": init, **options.config, **asked, **starts}


def _check_shm(options: NomadOptions, driver: str) -> None:
    if options.shm_size is not None:
        raise SpecError(
            f"shm_size: the task driver {driver} has none",
            path="options.shm_size",
            remedy="leave it out, or use driver=docker",
        )


def _shm_size(size: int | None, driver: str) -> int | str | None:
    """In bytes: for Docker a number, for Podman one with its unit."""
    return f"{size}b" if size and driver == "podman" else size


def check_password(config: Block) -> None:
    """SpecError where a password for a registry would stand in the job, for all who may read it."""
    auth = config.get("auth") or {}
    for one in auth if isinstance(auth, list) else [auth]:
        password = one.get("password") if isinstance(one, Mapping) else None
        if password and not _FILLED_IN.fullmatch(str(password)):
            raise SpecError(
                "config: auth.password would stand in the job, for everybody to read",
                path="options.config",
                remedy='make it a secret, say REGISTRY_PASSWORD, and write "${REGISTRY_PASSWORD}"',
            )


def resources(spec: JobSpec, options: NomadOptions, site: Site) -> Block:
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


def constraints(asked: Sequence[Constraint]) -> list[Block]:
    """Constraints in Nomad's words."""
    return [{"LTarget": c.attribute, "RTarget": c.value, "Operand": c.operator} for c in asked]


def affinities(asked: Sequence[Affinity]) -> list[Block]:
    """Affinities in Nomad's words."""
    return [
        {"LTarget": a.attribute, "RTarget": a.value, "Operand": a.operator, "Weight": a.weight}
        for a in asked
    ]


def spreads(asked: Sequence[Spread]) -> list[Block]:
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


def networks(options: NomadOptions) -> list[Block]:
    """The group's network, where one is asked for."""
    if not (options.network or options.ports):
        return []
    fixed = [{"Label": p.label, "Value": p.static, "To": p.to} for p in options.ports if p.static]
    free = [{"Label": p.label, "To": p.to} for p in options.ports if not p.static]
    return [_given(Mode=options.network or None, ReservedPorts=fixed, DynamicPorts=free)]


def _device(count: int, options: NomadOptions) -> Block:
    return _given(
        Name=options.device, Count=count, Constraints=constraints(options.device_constraints)
    )


def _volume(volume: Volume) -> Block:
    return _given(
        Type=volume.type,
        Source=volume.source,
        ReadOnly=volume.read_only,
        AccessMode=volume.access_mode or None,
        AttachmentMode=volume.attachment_mode or None,
    )


def _mount(number: int, volume: Volume) -> Block:
    return {
        "Volume": f"volume{number}",
        "Destination": volume.path,
        "ReadOnly": volume.read_only,
    }


def _given(**fields: Any) -> Block:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _megabytes(size: int) -> int:
    return math.ceil(size / (1 << 20))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def labels_of(meta: Mapping[str, str]) -> dict[str, str]:
    """The labels that a job was given."""
    return {name: value for name, value in meta.items() if not name.startswith(RESERVED)}
