"""A user's own job, in Nomad's words, under which ours is laid. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import msgspec

from batchbridge.errors import SpecError
from batchbridge_nomad.wire import TASK

Block = dict[str, Any]

PATH = "options.template"

ADDED = ("Constraints", "Affinities", "Spreads", "Templates", "VolumeMounts")
"""Lists in which ours follows the template's, instead of taking its place."""

WHOLE = "Disconnect"
"""What is ours as a whole: parts of another's exclude parts of it."""

EITHER = {"CPU": "Cores", "Cores": "CPU"}
"""Resources of which a job names one."""

UNSAID = ""
"""What parsed HCL, or a job that is shown, has for some of what was not said. It is kept: where
Nomad tells empty from absent, only so the rest of that job means what it did."""

NAMES = ("ID", "Name", "Type")
"""What is ours by nature, and nobody need be told of."""


GLOBAL = "global"
"""The region of a job that names none: Nomad takes it for that of the agent that is asked."""


class _Task(TypedDict, total=False):
    Name: str
    Driver: str
    Config: Block
    Env: Block
    Constraints: list[Block]
    Affinities: list[Block]
    Templates: list[Block]
    VolumeMounts: list[Block]
    Resources: Block


class _Group(TypedDict, total=False):
    Constraints: list[Block]
    Affinities: list[Block]
    Spreads: list[Block]
    Tasks: list[_Task]


class _Job(TypedDict, total=False):
    """What is read of a template, or laid under ours."""

    Type: str
    Meta: Block
    Constraints: list[Block]
    Affinities: list[Block]
    Spreads: list[Block]
    TaskGroups: list[_Group]


def decoded(text: str) -> Block | None:
    """A template in JSON; None where it has to be HCL. SpecError where it is broken."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=Block)
    except msgspec.MsgspecError as error:
        raise _refused(f"is no JSON: {error}") from error


def base(parsed: Mapping[str, Any]) -> Block:
    """The job of a template, with one group and with the task that runs the command called ours.

    SpecError where it is something else than one batch job of one group.
    """
    job = _checked(_said(parsed.get("Job", parsed)))
    if job.get("Region") == GLOBAL:
        job = without_region(job)
    if job.get("Type", "batch") != "batch" or job.keys() & {"Periodic", "ParameterizedJob"}:
        raise _refused("is not a plain batch job", 'say type = "batch", and nothing of when')
    groups = job.get("TaskGroups") or [{}]
    if len(groups) != 1:
        raise _refused(f"has {len(groups)} groups", "one job is one group of tasks")
    (group,) = groups
    return {**job, "TaskGroups": [{**group, "Tasks": _tasks(group.get("Tasks") or [{}])}]}


def without_region(job: Mapping[str, Any]) -> Block:
    """The job, for whichever region its reference names: in that of a template none would look."""
    return {key: value for key, value in job.items() if key != "Region"}


def main_task(job: Mapping[str, Any]) -> Block:
    """The task that runs the command; of no template, nothing."""
    return _main(job["TaskGroups"][0]["Tasks"] if job else [])


def over(below: Any, above: Any, name: str = "") -> Any:
    """`above` laid over `below`: what only one says stands, of what both say `above`."""
    if isinstance(below, dict) and isinstance(above, dict) and name != WHOLE:
        both = {key: over(below[key], above[key], key) for key in below.keys() & above.keys()}
        stands = {key: below[key] for key in below.keys() - _excluded(below, above, name)}
        return {**stands, **above, **both}
    if name in ADDED:
        return [*below, *above]
    if name == "TaskGroups":
        return [over(below[0], above[0])]
    if name == "Tasks":
        others = [task for task in (*below, *above) if task["Name"] != TASK]
        return [over(_main(below), _main(above)), *others]
    return above


def notes(below: Any, above: Any) -> Iterator[str]:
    """What of a template does not stand, as a sentence for whoever wrote it."""
    places = list(overridden(below, above))
    if places:
        yield f"the template's {', '.join(places)} gave way to what batchbridge sets there"


def overridden(below: Any, above: Any, path: str = "job") -> Iterator[str]:
    """The places at which the template said something that does not stand."""
    name = path.rpartition(".")[2]
    if isinstance(below, dict) and isinstance(above, dict) and name != WHOLE:
        for key in sorted((below.keys() & above.keys()) - {*NAMES}):
            yield from overridden(below[key], above[key], f"{path}.{key}")
        yield from (f"{path}.{key}" for key in sorted(below.keys() - above.keys()))
    elif name == "TaskGroups":
        yield from overridden(below[0], above[0], f"{path}[0]")
    elif name == "Tasks":
        yield from overridden(_main(below), _main(above), f"{path}[{TASK}]")
    elif below not in (above, UNSAID) and name not in ADDED:
        yield path


def _excluded(below: Block, above: Block, name: str) -> set[str]:
    """The resources below that exclude one above."""
    if name != "Resources":
        return set()
    return {key for key, other in EITHER.items() if below.get(key) and above.get(other)}


def _main(tasks: list[Block]) -> Block:
    return next((task for task in tasks if task["Name"] == TASK), {})


def _tasks(tasks: list[Block]) -> list[Block]:
    if len(tasks) == 1:
        return [{**tasks[0], "Name": TASK}]
    names = [task.get("Name") for task in tasks]
    if names.count(TASK) != 1 or None in names:
        raise _refused("has several tasks", f"call the one that runs the command {TASK!r}")
    return tasks


def _checked(job: Any) -> Block:
    """A job as Nomad's API writes it; its other forms would be ignored unheard."""
    as_run = "write it in HCL, or as nomad job run -output does"
    try:
        msgspec.convert(job, _Job)
    except msgspec.ValidationError as error:
        raise _refused(f"is no job of Nomad's API: {error}", as_run) from error
    groups = job.get("TaskGroups", [])
    tasks = [task for group in groups for task in group.get("Tasks", [])]
    for part in (job, *groups, *tasks):
        odd = next((name for name in part if not name[:1].isupper()), None)
        if odd is not None:
            raise _refused(f"says {odd!r}, which Nomad's API does not", as_run)
    whole: Block = job
    return whole


def _said(value: Any) -> Any:
    """Without what says nothing: parsed HCL writes null for all that is not there."""
    if isinstance(value, Mapping):
        return {key: _said(inner) for key, inner in value.items() if inner is not None}
    return [_said(inner) for inner in value] if isinstance(value, list) else value


def _refused(problem: str, remedy: str = "") -> SpecError:
    return SpecError(f"{PATH} {problem}", path=PATH, remedy=remedy)
