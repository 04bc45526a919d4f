"""What Nomad says of a job -> observations. Pure.

One allocation is one attempt, numbered in the order of creation. ``complete`` is not success: a
task that was drained, preempted, stopped or timed out is ``complete`` too, so an ending is read
from what was desired and from the task's own events. An end that Nomad may answer with another
allocation is provisional; one after which it does nothing more is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM

from batchbridge.model import Cause, JobState, Seen
from batchbridge_nomad.wire import TASK, Alloc, TaskEvent, moment, seconds, sentence

TIMED_OUT = "allocation exceeded max_run_duration"

CAUSES = (
    ("alloc not needed due to disconnected client reconnect", Cause.NODE_LOST),
    ("alloc not needed due to job update", Cause.CANCELLED),
    ("alloc is being migrated", Cause.EVICTED),
    ("alloc not needed as node is tainted", Cause.EVICTED),
    ("alloc is lost since its node is down", Cause.NODE_LOST),
    ("Preempted by", Cause.PREEMPTED),
)
"""How descriptions of stopped allocations begin, and what they mean."""

LIMIT_CODES = ("124", str(128 + SIGTERM), str(128 + SIGKILL))
"""Exit codes of timeout(1) at its limit: the usual ones, busybox's, after a SIGKILL."""

NEVER_STARTED = {
    "Driver Failure": Cause.START_ERROR,
    "Failed Validation": Cause.SPEC,
    "Setup Failure": Cause.START_ERROR,
    "Failed Artifact Download": Cause.START_ERROR,
    "Task hook failed": Cause.START_ERROR,
    "Killing": Cause.START_ERROR,  # of a task that has not run: a template that failed
}
"""Events of a task whose command did not run."""

_ENDS = ("Terminated", *NEVER_STARTED)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one job: its allocations in the order of creation, and a few facts."""

    id: str
    allocs: tuple[Alloc, ...] = ()
    submitted_at: float | None = None
    stopped: bool = False  #: it was deregistered: Nomad places nothing more
    waiting: bool = False  #: Nomad means to place it, and has not
    secrets: bool = False  #: a variable was written for it
    reruns: bool = False  #: it may be run again, as its submitter said
    timeout: float | None = None  #: the limit that its script enforces


@dataclass(frozen=True, slots=True)
class Ending:
    """How an allocation ended."""

    state: JobState
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    own: bool = True  #: the task ended by itself, or somebody stopped the job: no other follows


def history(job: Known) -> tuple[Seen, ...]:
    """All that is known of a job, in order."""
    attempts = (seen for n, alloc in enumerate(job.allocs, 1) for seen in _attempt(job, alloc, n))
    return (
        Seen(job.id, JobState.SUBMITTED, attempt=1, at=job.submitted_at),
        *attempts,
        *_beyond(job),
    )


def _attempt(job: Known, alloc: Alloc, number: int) -> Iterator[Seen]:
    node, started = alloc.node_name, moment(alloc.task.started_at)
    at, ending = seconds(alloc.create_time), ending_of(job, number)
    hint = "" if ending else doing(alloc)
    yield Seen(job.id, JobState.PENDING, number, at=at, node=node, message=hint)
    if started is not None or (alloc.client_status == "running" and not ending):
        yield Seen(job.id, JobState.RUNNING, number, at=started, node=node, message=hint)
    if ending is not None:
        yield Seen(
            job.id,
            ending.state,
            number,
            final=number == len(job.allocs) and ending.own and _all_dead(job),
            at=moment(alloc.task.finished_at),
            cause=ending.cause,
            exit_code=ending.exit_code,
            signal=ending.signal,
            message=ending.message,
            node=node,
        )


def _beyond(job: Known) -> Iterator[Seen]:
    """What follows the last allocation: a place in the queue, or the end of the job."""
    last = ending_of(job, len(job.allocs)) if job.allocs else None
    if not job.allocs:
        if job.stopped:
            yield Seen(job.id, JobState.CANCELLED, final=True, message="stopped before it started")
        else:
            yield Seen(job.id, JobState.QUEUED, attempt=1, at=job.submitted_at)
    elif last is None or last.own:
        return
    elif job.stopped:
        if _all_dead(job):
            yield _stopped_between(job, last)
    elif job.waiting:
        yield Seen(job.id, JobState.QUEUED, attempt=len(job.allocs) + 1)


def _stopped_between(job: Known, last: Ending) -> Seen:
    """The end of a job that was stopped after an attempt that Nomad had ended.

    Unnumbered, because the next attempt may be known to wait. One that may not be run again has
    been stopped for that very end, whoever did it; of another, somebody ended the wait.
    """
    at = moment(job.allocs[-1].task.finished_at)
    if job.reruns:
        return Seen(job.id, JobState.CANCELLED, final=True, message="stopped while it waited")
    return Seen(job.id, last.state, final=True, at=at, cause=last.cause, message=last.message)


def _all_dead(job: Known) -> bool:
    """No allocation has a process left; one that was replaced may, while it is being killed."""
    return all(alloc.client_status in ("complete", "failed", "lost") for alloc in job.allocs)


def ending_of(job: Known, number: int) -> Ending | None:
    """How that attempt ended; None while it goes on. One that was replaced has ended."""
    alloc = job.allocs[number - 1]
    ending = _ending(alloc, job)
    if ending is None and number < len(job.allocs):
        return _interrupted(alloc)
    stopped_again = ending is not None and ending.state is JobState.CANCELLED and number > 1
    if stopped_again and not job.reruns:
        first = ending_of(job, 1)
        return _final(first) if first else ending
    return ending


def _final(ending: Ending) -> Ending:
    return Ending(ending.state, ending.cause, message=ending.message)


def _ending(alloc: Alloc, job: Known) -> Ending | None:
    terminated = _last(alloc, "Terminated")
    if alloc.client_status == "failed":
        return _over_time(alloc, terminated, job) or _failed(alloc, terminated)
    if alloc.client_status == "lost":
        return _interrupted(alloc)
    if alloc.client_status != "complete":
        return None
    if alloc.client_description == TIMED_OUT or _last(alloc, "Killing", TIMED_OUT):
        dead = alloc.task.state == "dead"
        return Ending(JobState.FAILED, Cause.TIMEOUT, message=TIMED_OUT) if dead else None
    clean = terminated is not None and terminated.detail("exit_code") in ("", "0")
    if clean and (alloc.desired_status == "run" or not _killed_before(alloc, terminated)):
        return Ending(JobState.SUCCEEDED, exit_code=0)
    return _interrupted(alloc, terminated)


def _last(alloc: Alloc, kind: str, text: str = "") -> TaskEvent | None:
    found = (e for e in reversed(alloc.events) if e.type == kind and text in e.display_message)
    return next(found, None)


def _killed_before(alloc: Alloc, terminated: TaskEvent | None) -> bool:
    killing = _last(alloc, "Killing")
    return killing is not None and terminated is not None and killing.time <= terminated.time


def _over_time(alloc: Alloc, terminated: TaskEvent | None, job: Known) -> Ending | None:
    """The end that the script's time limit made: by its code, once the limit had passed."""
    if job.timeout is None or terminated is None or _ran_for(alloc) < job.timeout:
        return None
    if terminated.detail("exit_code") not in LIMIT_CODES:
        return None
    return Ending(JobState.FAILED, Cause.TIMEOUT, message=f"it ran longer than {job.timeout:g} s")


def _ran_for(alloc: Alloc) -> float:
    started, finished = moment(alloc.task.started_at), moment(alloc.task.finished_at)
    return 0.0 if started is None or finished is None else finished - started


def _failed(alloc: Alloc, terminated: TaskEvent | None) -> Ending:
    own, other = not (alloc.followup_eval_id or alloc.next_allocation), _other_failed(alloc)
    if terminated is None:
        why = (Cause.START_ERROR, other) if other else _why_not_started(alloc)
        return Ending(JobState.FAILED, why[0], message=why[1], own=own)
    code, signal = exit_facts(terminated)
    if other and (code == 0 or _killed_before(alloc, terminated)):
        return Ending(JobState.FAILED, None, code, signal, other, own)
    if terminated.detail("oom_killed") == "true":
        return Ending(JobState.FAILED, Cause.OOM, code, signal, "out of memory", own)
    message = terminated.detail("exit_message")
    return Ending(JobState.FAILED, None, code, signal, message, own)


def _other_failed(alloc: Alloc) -> str:
    """Which task beside the command's failed, and how; empty where none did."""
    for name, task in (alloc.task_states or {}).items():
        if name != TASK and task.failed:
            ends = (e for e in reversed(task.events or ()) if e.type in _ENDS)
            said = next((sentence(event.display_message) for event in ends), "")
            return f"the task {name} failed: {said}"
    return ""


def _why_not_started(alloc: Alloc) -> tuple[Cause, str]:
    for event in reversed(alloc.events):
        if event.type in NEVER_STARTED:
            pull = "pull" in event.display_message.lower()
            cause = Cause.IMAGE if pull else NEVER_STARTED[event.type]
            return cause, sentence(event.display_message)
    said = alloc.events[-1].display_message if alloc.events else alloc.client_description
    return Cause.UNKNOWN, sentence(said)


def exit_facts(terminated: TaskEvent) -> tuple[int | None, int | None]:
    """``(exit code, signal)``, one of them at most.

    A container's engine tells a signal as 128 + n only; where a shell could have ended so by
    itself, that is left as the code that it is.
    """
    code, signal = (int(terminated.detail(name) or 0) for name in ("exit_code", "signal"))
    if signal:
        return None, signal
    contained = terminated.detail("exit_message").startswith("Docker container exited")
    if contained and code in (128 + SIGKILL, 128 + SIGTERM):
        return None, code - 128
    return (None if code < 0 else code), None


def _interrupted(alloc: Alloc, terminated: TaskEvent | None = None) -> Ending:
    """The end of an allocation that Nomad, or somebody through it, has ended."""
    said = alloc.desired_description
    cause = next((cause for begin, cause in CAUSES if said.startswith(begin)), Cause.UNKNOWN)
    if alloc.client_status == "lost" and cause is Cause.UNKNOWN:
        cause, said = Cause.NODE_LOST, said or "its node is lost"
    cancelled = cause is Cause.CANCELLED
    state = JobState.CANCELLED if cancelled else JobState.FAILED
    code, signal = exit_facts(terminated) if terminated else (None, None)
    words = "" if cancelled else said
    return Ending(state, cause, code, signal, words, own=cancelled)


def doing(alloc: Alloc) -> str:
    """What the client is at, for a job that has not ended; of a running one, only what is odd."""
    if alloc.client_status == "unknown":
        return "its node is cut off"
    if alloc.desired_status in ("stop", "evict"):
        return f"being stopped: {alloc.desired_description}"
    last = alloc.events[-1] if alloc.events else None
    if alloc.client_status == "pending":
        return sentence(last.display_message) if last else "waiting for its node"
    return (
        sentence(last.display_message) if last and last.type in ("Template", "Restarting") else ""
    )
