"""From what a user asks for to receipts: checks before any I/O, then idempotent submitting."""

from __future__ import annotations

import getpass
import logging
import os
import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from batchbridge.backoff import delays, pause
from batchbridge.driver import BatchDriver, Capabilities
from batchbridge.errors import (
    BatchBridgeError,
    DriverBug,
    OutcomeUnknown,
    SpecError,
    TransportError,
    Unsupported,
    of_driver,
)
from batchbridge.model import LIMITS, Files, Gang, JobSpec, Receipt, Secret, Submission
from batchbridge.secrets import resolve
from batchbridge.settings import Resolved

log = logging.getLogger("batchbridge")

TRIES = 6
"""Times that a submit is sent where repeating it is safe."""


def new_key() -> str:
    """A key that nobody has used: sorts by time, 27 characters of ``[0-9a-f]``."""
    return f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"


def default_job_set(user: str, key: str | None) -> str:
    """User and day; user and key where the caller chose one, so that midnight splits nothing."""
    return f"{user}-{key}" if key else f"{user}-{time.strftime('%Y-%m-%d')}"


@cache
def user_name() -> str:
    """Who submits, as the engine's records will say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid())


# -- before any I/O --------------------------------------------------------------------------


def checked(resolved: Resolved, form: Mapping[str, Any]) -> JobSpec:
    """The job that `form` asks for, with the profile's defaults; refused if it cannot be run."""
    spec = JobSpec.parse(named(resolved.spec(form)))
    missing = next(unsupported(spec, resolved.driver_cls.capabilities), None)
    if missing:
        field, remedy = missing
        raise Unsupported(f"{resolved.backend} has no {field}", path=field, remedy=remedy)
    return spec


def unsupported(spec: JobSpec, has: Capabilities) -> Iterator[tuple[str, str]]:
    """What the job needs and the engine lacks: ``(field, remedy)``."""
    leave_out = (
        "leave it out, or choose another backend; batchbridge drivers --markdown compares them"
    )
    for name in ("cpu", "memory", "disk", "gpu"):
        if getattr(spec, name) is not None and getattr(has, name) == "absent":
            yield name, leave_out
    for name in ("image", "env", "workdir", "labels"):
        if getattr(spec, name) and not getattr(has, name):
            yield name, leave_out
    if spec.secrets and not (has.secrets or has.plain_secrets):
        yield "secrets", leave_out
    if spec.upload and has.upload is None:
        yield "upload", "put the files where the job runs, or choose another backend"


def unattended(spec: JobSpec, has: Capabilities) -> Iterator[tuple[str, str]]:
    """What only a waiting client can enforce: ``(field, remedy)``; refused when detaching."""
    for name in LIMITS:
        if getattr(spec, name) is not None and not getattr(has, name):
            yield name, "wait for the job (--wait or --follow), which enforces it"


def submissions(
    resolved: Resolved,
    specs: Sequence[JobSpec | Mapping[str, Any]],
    keys: Sequence[str] | None,
    *,
    gang: bool,
    detach: bool,
) -> Iterator[tuple[int, Submission | BatchBridgeError]]:
    """Each job's place and its submission, in order, or why it is refused before any I/O."""
    if keys is not None and (len(set(keys)) != len(specs) or len(keys) != len(specs)):
        raise SpecError("keys must be as many as the jobs, each another", path="key")
    if keys is not None and not all(keys):
        raise SpecError("key is empty", path="key")
    gang_id = new_key()
    for index, spec in enumerate(specs):
        member = Gang(gang_id, len(specs), index) if gang else None
        try:
            key = keys[index] if keys else None
            yield index, _submission(resolved, spec, key, member, detach)
        except BatchBridgeError as error:
            yield index, error


def _submission(
    resolved: Resolved,
    asked: JobSpec | Mapping[str, Any],
    key: str | None,
    gang: Gang | None,
    detach: bool,
) -> Submission:
    spec = checked(resolved, asked.to_json() if isinstance(asked, JobSpec) else asked)
    if detach:
        _check_unattended(spec, resolved)
    job_set = spec.job_set or default_job_set(user_name(), key)
    return prepare(resolved, spec, key=key or new_key(), job_set=job_set, gang=gang)


def _check_unattended(spec: JobSpec, resolved: Resolved) -> None:
    has = resolved.driver_cls.capabilities
    for field, remedy in unattended(spec, has):
        problem = f"{resolved.backend} has no {field} of its own"
        raise Unsupported(problem, path=field, remedy=remedy)
    if not (spec.reruns or has.no_reruns):
        log.warning("%s may run a job twice when nobody waits for it", resolved.backend)


def prepare(
    resolved: Resolved,
    spec: JobSpec,
    *,
    key: str,
    job_set: str,
    gang: Gang | None = None,
    reveal: bool = True,
) -> Submission:
    """The submission of a checked job: files packed and delivered, secrets read.

    Without `reveal` (a dry run) nothing is delivered and no secret is read.
    """
    if gang and not resolved.driver_cls.capabilities.gang:
        raise Unsupported(f"{resolved.backend} has no gang", path="gang")
    named = resolve(spec.secrets) if reveal else dict.fromkeys(spec.secrets, Secret(""))
    return Submission(
        key=key,
        spec=spec,
        job_set=job_set,
        user=user_name(),
        gang=gang,
        files=_files(resolved, spec, deliver=reveal),
        secrets=named,
    )


def named(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """The form with a name: its program's, where it says none."""
    if form.get("name"):
        return form
    command = form.get("command")
    words = list(command) if isinstance(command, list | tuple) else ["sh", "-c", command or ""]
    shell = words[:2] == ["sh", "-c"] and len(words) > 2
    program = str(words[2]).split()[:1] if shell else [str(word) for word in words[:1]]
    return {**form, "name": Path(program[0]).name if program else "job"}


def _files(resolved: Resolved, spec: JobSpec, *, deliver: bool) -> Files | None:
    if not spec.upload:
        return None
    from batchbridge import uploads  # here: most jobs carry no files, and all would pay for it

    archive = uploads.pack(spec.upload, root=Path.cwd())
    if not deliver:
        return Files(archive.digest, archive.size)
    limit = resolved.driver_cls.capabilities.upload
    return uploads.deliver(archive, limit=limit, store=resolved.store)


# -- the submit itself -----------------------------------------------------------------------


def hand_over(
    driver: BatchDriver[Any], submissions: Sequence[Submission]
) -> Iterator[tuple[Submission, Receipt]]:
    """Submit jobs of one scope; each comes back once, with its receipt.

    A call whose answer was lost is repeated where the engine makes a key one job; elsewhere those
    jobs' receipts say OutcomeUnknown.
    """
    open_keys = {submission.key: submission for submission in submissions}
    pauses, left, doubt = delays(), TRIES, False
    while True:
        problem = yield from _answers(driver, open_keys)
        doubt = doubt or in_doubt(problem, alone=len(submissions) == 1)
        if not open_keys:
            return
        left -= 1
        if not (left and problem.retryable and driver.capabilities.idempotency != "none"):
            break
        time.sleep(pause(next(pauses), problem))
    for submission in open_keys.values():
        error = _unknown(driver, submission, problem) if doubt else problem
        yield submission, Receipt(submission.key, error=error)


def _answers(
    driver: BatchDriver[Any], open_keys: dict[str, Submission]
) -> Generator[tuple[Submission, Receipt], None, BatchBridgeError]:
    """One call's answers, each taken off `open_keys`; returns why there were no more."""
    try:
        for receipt in driver.submit(tuple(open_keys.values())):
            submission = open_keys.pop(receipt.key, None)
            if submission is None:
                return DriverBug(f"the driver {driver.name!r} gave {receipt.key!r} two receipts")
            yield submission, receipt
    except Exception as error:
        return of_driver(driver.name, error)
    return DriverBug(f"the driver {driver.name!r} gave no receipt")


def in_doubt(problem: BatchBridgeError, *, alone: bool) -> bool:
    """Whether the engine may have heard a call that raised this.

    Of several jobs, the one that was never sent says nothing of the others.
    """
    if isinstance(problem, TransportError):
        return problem.sent or not alone
    return isinstance(problem, DriverBug)


def _unknown(
    driver: BatchDriver[Any], submission: Submission, problem: BatchBridgeError
) -> OutcomeUnknown:
    if driver.capabilities.idempotency == "none":
        remedy = f"look for it with: batchbridge list --backend {driver.name}"
    else:
        remedy = f"submit it again with --key {submission.key}: that makes nothing twice"
    remedy = "; then ".join(filter(None, (problem.remedy, remedy)))
    error = OutcomeUnknown(f"no answer to the submit of {submission.key}: {problem}", remedy=remedy)
    error.__cause__ = problem
    return error
