"""The one process of a spool that starts jobs. Whoever misses it starts it; idle, it ends.

It is single-threaded and keeps only what it can read again: the queue, and who runs. Killing it at
any moment loses nothing, because runners write their own ends and the next one reads the records.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import NamedTuple

from batchbridge_local import processes, retention, runner
from batchbridge_local.changes import Tail
from batchbridge_local.records import Claim, Corrupt, End
from batchbridge_local.schedule import Need, Queue, Waiting, fits
from batchbridge_local.spool import Spool, View, now, step

IDLE = 10.0
"""Seconds without a job after which it ends."""

LOOK = 2.0
"""Seconds between two looks at every job, for what was not told."""

RETRY = 1.0
"""Seconds before starting jobs again where a runner could not even claim one: a full disk."""

RESTARTED = "the machine was restarted before it ended"


class Running(NamedTuple):
    """A job with a runner, ours or one that an earlier supervisor left."""

    pid: int
    identity: str  #: empty while it is our child: that pid is not used again before we reap it
    need: Need


class Supervisor:
    """The queue of one spool, whose lock is held."""

    def __init__(self, spool: Spool, keep: retention.Keep) -> None:
        self.spool = spool
        self.queue = Queue()
        self.running: dict[str, Running] = {}
        self.finished: set[str] = set()
        self.children: dict[int, str | None] = {}  # None: it prunes
        self.keep = keep
        self.oom = processes.oom_counter()
        self.tail = Tail(spool.changes)
        self.broken: set[str] = set()
        self.not_before = 0.0
        self.next_look = self.next_pruning = 0.0
        self.busy_at = time.monotonic()
        self.wakeup = processes.signal_pipe(signal.SIGCHLD)
        self.fifo = _open_fifo(spool)

    def serve(self) -> None:
        """Work until there has been nothing to do for a while."""
        gc.freeze()  # runners share this memory
        while self.spool.lock.exists():
            self.look()
            self.expire()
            self.start()
            self.prune()
            if self.rested():
                if self.leave():
                    return
                continue
            self.wait()
            self.reap()
            self.listen()

    # -- waiting -----------------------------------------------------------------------------

    def wait(self) -> None:
        """Sleep until somebody wakes us, a child ends or something is due."""
        due = self.next_look
        if len(self.queue) and self.not_before > time.monotonic():
            due = min(due, self.not_before)
        deadline = self.queue.next_deadline()
        if deadline is not None:
            due = min(due, time.monotonic() + deadline - now())
        patience = max(0.0, due - time.monotonic())
        select.select([self.fifo, self.wakeup], [], [], patience)

    def listen(self) -> None:
        """Take in what submitters and cancellers have told."""
        if b"!" in _drain(self.fifo):
            self.next_look = 0.0
        cancelled = []
        changes = self.tail.read()
        if changes is None:
            self.reopen()
        for change in changes or ():
            if change["state"] == "QUEUED":
                self.meet(change["id"])
            elif change["state"] == "CANCELLING":
                cancelled.append(change["id"])
            elif change["id"] in self.running:
                self.check(change["id"])
        # Queued ones first, so that no place freed by a running one is given to them.
        for id in sorted(cancelled, key=lambda id: id not in self.queue):
            self.cancel(id)

    def reopen(self) -> None:
        """Follow the log that has replaced ours."""
        self.tail.close()
        self.tail = Tail(self.spool.changes)
        self.next_look = 0.0

    def reap(self) -> None:
        """Learn which of our runners have ended."""
        _drain(self.wakeup)
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            id = self.children.pop(pid)
            if id is None:
                continue
            self.running.pop(id, None)
            self.meet(id)
            if status and id in self.queue:
                self.not_before = time.monotonic() + RETRY

    def rested(self) -> bool:
        """Whether there has been nothing to do for long enough."""
        if self.running or self.children or len(self.queue):
            self.busy_at = time.monotonic()
            return False
        return time.monotonic() - self.busy_at >= IDLE

    def leave(self) -> bool:
        """Stop listening, then look once more: a job submitted meanwhile must not be left alone."""
        os.close(self.fifo)
        self.next_look = 0.0
        self.look()
        if not (self.running or len(self.queue)):
            return True
        self.fifo = _open_fifo(self.spool)
        return False

    # -- learning ----------------------------------------------------------------------------

    def look(self) -> None:
        """Look at every job from time to time, for what the log did not tell."""
        if time.monotonic() < self.next_look:
            return
        asked = not self.next_look
        self.next_look = time.monotonic() + LOOK
        self.spool.sweep()
        there = set(self.spool.ids())
        self.finished &= there
        for id in sorted(there - self.finished - self.running.keys() - set(self.queue)):
            self.meet(id)
        for id in list(self.running):
            self.check(id)
        for id in [*self.queue, *self.running] if asked else ():
            self.cancel(id)

    def prune(self) -> None:
        """Forget old jobs: in a process of its own, because looking at all of them takes time."""
        if time.monotonic() < self.next_pruning:
            return
        self.next_pruning = time.monotonic() + retention.EVERY
        if self.spool.shorten_log():
            self.reopen()
        pid = os.fork()
        if pid == 0:
            try:
                self.let_go()
                retention.prune(self.spool, self.finished, self.keep)
            finally:
                os._exit(0)
        self.children[pid] = None

    def check(self, id: str) -> None:
        """See whether a runner that is not our child has done its work, or is gone."""
        running = self.running[id]
        if not running.identity:
            return
        if self.spool.ended(id) or processes.identity(running.pid) != running.identity:
            del self.running[id]
            self.meet(id)

    def meet(self, id: str) -> None:
        """Put a job where its records say that it belongs."""
        if id in self.running:
            return
        self.queue.remove(id)
        if self.spool.ended(id):
            self.finished.add(id)
            return
        try:
            view = self.spool.view(id)
        except (Corrupt, OSError) as error:
            self.complain(id, error)
            return
        if view is not None and view.claim is not None:
            self.adopt(id, view, view.claim)
        elif view is not None and view.job.boot != processes.boot():
            self.end_unstarted(id, End("FAILED", now(), cause="UNKNOWN", message=RESTARTED))
        elif view is not None:
            self.queue.add(Waiting.of(id, view.job))

    def adopt(self, id: str, view: View, claim: Claim) -> None:
        """Count a job that somebody runs, or end it where that process is gone."""
        if processes.identity(claim.pid) == claim.identity and claim.end is None:
            need = Need(view.job.cpu, view.job.memory)
            self.running[id] = Running(claim.pid, claim.identity, need)
            return
        if not self.spool.ended(id):
            self.finish(id, claim.end or self.spool.written_end(id) or _abandoned(claim))

    def complain(self, id: str, error: Exception) -> None:
        """Name a job that cannot be read, once; the others go on."""
        if id not in self.broken:
            self.broken.add(id)
            print(f"job {id} is left alone: {error}", file=sys.stderr, flush=True)

    # -- acting ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what fits, in order."""
        while time.monotonic() >= self.not_before:
            head = self.queue.head()
            if head is None or not fits(head, (job.need for job in self.running.values())):
                return
            try:
                self.fork(head)
            except OSError:  # too many processes: it keeps its place
                self.not_before = time.monotonic() + RETRY

    def fork(self, job: Waiting) -> None:
        """Fork the runner of a job, which leaves the queue."""
        step("supervisor:starting")
        # A SIGTERM for the runner must wait until it listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                self.let_go()
                runner.run(self.spool, job.id, self.oom)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self.queue.remove(job.id)
        self.children[pid] = job.id
        self.running[job.id] = Running(pid, "", job.need)
        step("supervisor:started")

    def let_go(self) -> None:
        """In a forked process: close what is the supervisor's, so that its death shows."""
        signal.set_wakeup_fd(-1)
        for fd in (self.fifo, self.wakeup):
            os.close(fd)
        self.tail.close()

    def cancel(self, id: str) -> None:
        """End a job that somebody wants ended; a running one is ended by its runner."""
        if self.spool.cancel_reason(id) is None:
            return
        if id in self.queue:
            self.end_unstarted(id, runner.cancelled(self.spool, id))
        if id in self.running:  # also where a runner was faster than we
            running = self.running[id]
            if not running.identity or processes.identity(running.pid) == running.identity:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGTERM)

    def expire(self) -> None:
        """End the jobs whose queue timeout has passed."""
        for id in self.queue.overdue(now()):
            late = "it waited longer than allowed"
            self.end_unstarted(id, End("FAILED", now(), cause="UNSCHEDULABLE", message=late))
            if id in self.queue:
                self.queue.defer(id, now() + RETRY)

    def end_unstarted(self, id: str, end: End) -> None:
        """Claim a queued job so that nobody can run it, and end it."""
        with suppress(OSError):  # a full disk: the next look tries again
            self.spool.claim(id, runner.our_claim(end))
            step("supervisor:claimed")
            self.meet(id)

    def finish(self, id: str, end: End) -> None:
        """Record an end; where the disk does not take it, the next look tries again."""
        with suppress(OSError):
            self.spool.finish(id, end)
            self.finished.add(id)


def _abandoned(claim: Claim) -> End:
    """End what a dead runner left, and say what is known."""
    if claim.boot != processes.boot():
        why = RESTARTED
    else:
        processes.kill_session(claim.pid, claim.identity)
        why = f"its runner (pid {claim.pid}) was killed, so nobody saw how it ended"
    return End("FAILED", now(), cause="UNKNOWN", message=why)


def _open_fifo(spool: Spool) -> int:
    # For writing too, so that the last submitter's close is not an end of file.
    return os.open(spool.fifo, os.O_RDWR | os.O_NONBLOCK)


def _drain(fd: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(fd, 65536)
    return b""
