"""The reference engine: ``python runner.py SOCKET`` runs what is sent to that socket.

A fork for each job, so that it starts in a millisecond; nothing of batchbridge is imported.
"""

import fcntl
import json
import os
import pathlib
import signal
import socket
import sys
import time

PAUSE = 0.01


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1] + ".new")
    server.listen(100)
    pathlib.Path(sys.argv[1] + ".new").rename(sys.argv[1])  # it is there once it listens
    while True:
        sent, _ = server.accept()
        with sent, sent.makefile() as asked:
            given = json.load(asked)
        if not os.fork():
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(pathlib.Path(given["job"]), {**given, "engine": os.getppid()})
            return


def serve(job: pathlib.Path, given: dict) -> None:
    try:
        end = run(job, given)
    except Exception as error:
        end = {"state": "FAILED", "cause": "START_ERROR", "message": str(error)}
    tell(job, end | {"final": True})


def run(job: pathlib.Path, given: dict) -> dict:
    lock = os.open(job.parent.parent / "exclusive", os.O_CREAT | os.O_RDWR)
    waits = Waits(job, given, time.monotonic())
    ended = waits.for_gang() or (waits.for_lock(lock) if given["exclusive"] else None)
    return ended or execute(job, given)


class Waits:
    def __init__(self, job: pathlib.Path, given: dict, since: float) -> None:
        self.job, self.limit, self.since = job, given["queue_timeout"], since
        self.gang, self.engine = given["gang"], given["engine"]

    def over(self) -> dict | None:
        if (self.job / "cancel").exists() or os.getppid() != self.engine:
            return {"state": "CANCELLED"}
        if self.limit and time.monotonic() - self.since > self.limit:
            return {"state": "FAILED", "cause": "UNSCHEDULABLE"}
        time.sleep(PAUSE)
        return None

    def for_lock(self, lock: int) -> dict | None:
        ended = None
        while not ended:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                ended = self.over()
            else:
                return None
        return ended

    def for_gang(self) -> dict | None:
        if not self.gang:
            return None
        here = self.job.parent.parent / "gangs" / self.gang["id"]
        here.mkdir(parents=True, exist_ok=True)
        (here / str(self.gang["index"])).touch()
        ended = None
        while not ended and len(list(here.iterdir())) < self.gang["size"]:
            ended = self.over()
        return ended


def execute(job: pathlib.Path, given: dict) -> dict:
    if (job / "cancel").exists():
        return {"state": "CANCELLED"}
    pid = start(job, given)
    tell(job, {"state": "RUNNING"})
    deadline = time.monotonic() + (given["timeout"] or 1e9)
    killed = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return killed or ended(status)
        if (job / "cancel").exists() or os.getppid() != given["engine"]:
            killed = {"state": "CANCELLED"}
        elif time.monotonic() > deadline:
            killed = {"state": "FAILED", "cause": "TIMEOUT"}
        elif (job / "preempt").exists():
            killed = {"state": "FAILED", "cause": "PREEMPTED"}
        if killed:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(PAUSE)


def start(job: pathlib.Path, given: dict) -> int:
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    streams = [os.open("/dev/null", os.O_RDONLY)]
    streams += [os.open(job / name, flags) for name in ("stdout", "stderr")]
    os.chdir(given["workdir"])
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(streams)]
    command = given["command"]
    return os.posix_spawnp(command[0], command, given["env"], file_actions=actions, setpgroup=0)


def ended(status: int) -> dict:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return {"state": "FAILED", "signal": -code}
    return {"state": "FAILED" if code else "SUCCEEDED", "exit_code": code}


def tell(job: pathlib.Path, said: dict) -> None:
    line = json.dumps({"id": job.name, "at": time.time(), **said}) + "\n"
    log = os.open(job.parent.parent / "events", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(log, line.encode())
    os.close(log)


if __name__ == "__main__":
    main()
