"""What the status of a pod says at each stage of its life. Pure but for the time."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from localdev.kubernetes.store import Object, now

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ended, and why the pod did if that was not the container's own doing."""

    code: int
    reason: str
    started: str
    pod_reason: str = ""
    message: str = ""
    container_message: str = ""


NOT_STARTED = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed:"
    ' runc create failed: unable to start container process: exec: "{}": {}: unknown'
)


def not_started(program: str, error: OSError) -> Ending:
    """The end of a container whose program cannot be started."""
    why = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError):
        here = "/" in program
        why = f"stat {program}: {why}" if here else "executable file not found in $PATH"
    told = NOT_STARTED.format(program, why)
    return Ending(128, "StartError", now(), container_message=told)


def pending(reason: str, pod: Object, message: str = "") -> Object:
    """The container waits."""
    waiting = {"reason": reason, **({"message": message} if message else {})}
    return _status("Pending", pod, {"waiting": waiting})


def running(pod: Object) -> Object:
    """The container runs."""
    return _status("Running", pod, {"running": {"startedAt": now()}}, ready=True)


def ended(pod: Object, ending: Ending) -> Object:
    """The container has ended."""
    terminated = {
        "exitCode": ending.code,
        "reason": ending.reason,
        "startedAt": ending.started,
        "finishedAt": now(),
        **({"message": ending.container_message} if ending.container_message else {}),
    }
    phase = "Failed" if ending.code or ending.pod_reason else "Succeeded"
    status = _status(phase, pod, {"terminated": terminated})
    if ending.pod_reason:
        status |= {"reason": ending.pod_reason, "message": ending.message}
    return status


def secret_values(secret: Object) -> dict[str, str]:
    """The values of a secret, by key."""
    stored = {
        key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()
    }
    return {**stored, **secret.get("stringData", {})}


def warning(pod: Object, message: str) -> Object:
    """The event that tells why a container cannot be made."""
    about = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
        "type": "Warning",
        "reason": "Failed",
        "message": message,
        "count": 1,
        "firstTimestamp": now(),
        "lastTimestamp": now(),
    }


def _status(phase: str, pod: Object, state: Object, *, ready: bool = False) -> Object:
    container = pod["spec"]["containers"][0]
    container_status = {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}
    return {
        "phase": phase,
        "conditions": [scheduled],
        "containerStatuses": [container_status],
        "hostIP": ADDRESS,
        "podIP": ADDRESS,
        "startTime": now(),
    }
