"""Why a job is refused, in Nomad's words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tests.drivers.nomad.agent.placing import OPERANDS
from tests.drivers.nomad.agent.shapes import BLANK, Object, filled

POOLS = ("default", "all")


def errors_of(job: Object, namespaces: Collection[str]) -> list[str]:
    """All that is wrong with it; nothing where it is right."""
    return [*_placing(job, namespaces)] or [*_own(filled(BLANK["job"], job))]


def warnings_of(job: Object) -> str:
    """What is said of a job that is taken all the same."""
    said = [
        "Memory oversubscription is not enabled; "
        f'Task "{group["Name"]}.{task["Name"]}" memory_max value will be ignored. '
        "Update the Scheduler Configuration to allow oversubscription."
        for group in job.get("TaskGroups") or ()
        for task in group["Tasks"]
        if (task.get("Resources") or {}).get("MemoryMaxMB")
    ]
    many = "warnings" if len(said) > 1 else "warning"
    return "\n".join([f"{len(said)} {many}:\n", *(f"* {one}" for one in said)]) if said else ""


def listed(found: Iterable[str]) -> str:
    """Errors as Go writes several; the empty string for none."""
    lines = [f"\t* {one}\n" for one in found]
    many = "errors" if len(lines) > 1 else "error"
    return f"{len(lines)} {many} occurred:\n" + "".join(lines) + "\n" if lines else ""


def _placing(job: Object, namespaces: Collection[str]) -> Iterator[str]:
    namespace, pool = job.get("Namespace") or "default", job.get("NodePool") or "default"
    if namespace not in namespaces:
        yield f'job "{job.get("ID")}" is in nonexistent namespace "{namespace}"'
    if pool not in POOLS:
        yield f'job "{job.get("ID")}" is in nonexistent node pool "{pool}"'


def _own(job: Object) -> Iterator[str]:
    if " " in job["ID"]:
        yield "Job ID contains a space"
    if job["Type"] not in ("batch", "service", "system", "sysbatch"):
        yield f'Invalid job type: "{job["Type"]}"'
    for number, one in enumerate(job["Constraints"] or [], 1):
        if one["Operand"] not in OPERANDS:
            words = f'Unknown constraint type "{one["Operand"]}"'
            yield f"Constraint {number} validation failed: {listed([words])}"
    if not job["TaskGroups"]:
        yield "Missing job task groups"
    for group in job["TaskGroups"]:
        wrong = listed(_group(filled(BLANK["group"], group)))
        if wrong:
            yield f"Task group {group['Name']} validation failed: {wrong}"
    if not 1 <= job["Priority"] <= 100:
        yield "job priority must be between [1, 100]"


def _group(group: Object) -> Iterator[str]:
    for task in group["Tasks"]:
        wrong = listed(_task(filled(BLANK["task"], task), group["EphemeralDisk"]["SizeMB"], task))
        if wrong:
            yield f"Task {task['Name']} validation failed: {wrong}"


def _task(task: Object, disk: int, said: Object) -> Iterator[str]:
    if not task["Driver"]:
        yield "Missing task driver"
    asked = said.get("Resources") or {}
    if asked.get("CPU") and asked.get("Cores"):
        yield listed(["Task can only ask for 'cpu' or 'cores' resource, not both."])
    memory = task["Resources"]["MemoryMB"]
    if memory < 10:
        yield listed([listed([f"minimum MemoryMB value is 10; got {memory}"])])
    logs = task["LogConfig"]["MaxFiles"] * task["LogConfig"]["MaxFileSizeMB"]
    if logs >= disk:
        words = f"log storage ({logs} MB) must be less than requested disk capacity ({disk} MB)"
        yield listed([words])
