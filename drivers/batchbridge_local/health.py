"""What the spool can say of itself to people: why a job waits, and whether all is well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

from batchbridge.model import Check, Explanation
from batchbridge_local.records import VERSION, Corrupt
from batchbridge_local.schedule import Need, Waiting, fits, in_use
from batchbridge_local.spool import Refused, Spool, View

LOW_DISK = 100 << 20
"""Bytes free below which a warning is due."""


def explanation(id: str, unfinished: Mapping[str, View]) -> Explanation | None:
    """Why the queued job `id` waits, given all unfinished ones; None where it does not. Pure."""
    view = unfinished.get(id)
    if view is None or view.claim is not None:
        return None
    running = {k: v for k, v in unfinished.items() if v.claim is not None}
    me = Waiting.of(id, view.job)
    older = sum(
        Waiting.of(k, v.job) < me for k, v in unfinished.items() if v.claim is None and k != id
    )
    needs = [Need(v.job.cpu, v.job.memory) for v in running.values()]
    if older:
        first = "one job submitted earlier comes" if older == 1 else f"{older} earlier jobs come"
        return Explanation(f"{first} first; {_use(me, running)}")
    if fits(me, needs):
        return Explanation("it is about to start")
    return Explanation(_use(me, running), "cancel one of them, or raise the bounds in the settings")


def _use(me: Waiting, running: Mapping[str, View]) -> str:
    used = in_use(Need(v.job.cpu, v.job.memory) for v in running.values())
    cores = f"{me.need.cpu:g} core{'' if me.need.cpu == 1 else 's'}"
    parts = [f"{cores} ({used.cpu:g} of {me.bound.cpu:g} are in use)"]
    if me.need.memory:
        need, taken, bound = (one / 2**20 for one in (me.need.memory, used.memory, me.bound.memory))
        parts.append(f"{need:g} MiB ({taken:g} of {bound:g} MiB are in use)")
    names = [view.job.name or id for id, view in running.items()]
    whom = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"waits for {' and '.join(parts)}" + (f"; running: {whom}" if whom else "")


def checks(spool: Spool) -> Iterator[Check]:
    """The checks of ``doctor``: the spool, its supervisor, the disk, the records."""
    try:
        spool.open()
        with spool.preparing():
            pass
    except Refused as error:
        yield Check("spool", False, str(error), error.remedy)
        return
    except OSError as error:
        detail = f"the spool {spool.root}: {error.strerror}"
        yield Check("spool", False, detail, "make it writable, or choose another with --root")
        return
    yield Check("spool", True, f"{spool.root}, version {VERSION}, ours alone and writable")
    yield _supervisor(spool)
    yield _disk(spool)
    yield _records(spool)


def _supervisor(spool: Spool) -> Check:
    if spool.wake():
        return Check("supervisor", True, "it is running")
    waiting = sum(1 for _ in spool.unfinished())
    detail = f"none is running, with {waiting} unfinished jobs"
    remedy = "batchbridge list starts one" if waiting else ""
    return Check("supervisor", not waiting, detail, remedy)


def _disk(spool: Spool) -> Check:
    free = shutil.disk_usage(spool.root).free
    remedy = "" if free > LOW_DISK else f"free some space on the disk of {spool.root}"
    return Check("disk", free > LOW_DISK, f"{free >> 20} MiB free", remedy)


def _records(spool: Spool) -> Check:
    damaged = [problem for id in sorted(spool.ids()) if (problem := _damage(spool, id))]
    damaged += [f"{spool.jobs / name}: it is no job" for name in sorted(spool.foreign())]
    if not damaged:
        return Check("records", True, "all can be read")
    return Check("records", False, "; ".join(damaged), "move these directories out of the spool")


def _damage(spool: Spool, id: str) -> str:
    try:
        spool.view(id)
    except (Corrupt, OSError) as error:
        return str(error)
    return ""
