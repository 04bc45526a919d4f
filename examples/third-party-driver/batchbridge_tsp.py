"""task-spooler (``tsp``) as an engine: a queue of commands on this machine; see README.md."""

import fcntl
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from subprocess import CalledProcessError, run

from batchbridge import model
from batchbridge.driver import BatchDriver, Capabilities, setting
from batchbridge.errors import TransportError
from batchbridge.model import JobRef, JobState, LogPage, Receipt, Seen, Stream, Submission
from batchbridge.uploads import extract

BASE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home()), "LANG": "C.UTF-8"}
START = 'cd "$1" && exec </dev/null >stdout 2>stderr && cd "$2" && shift 2 && exec "$@"'
LISTED = re.compile(r"^(\d+) +(\w+) .*?\[(bb-[0-9a-f]{32})\]", re.MULTILINE)
STATUS = re.compile(r"^Exit status: .*(code|signal) (-?\d+)$", re.MULTILINE)
STOP, GONE, HELP = {"queued": "-r", "running": "-k"}, ("", ""), "apt-get install task-spooler"
Cursor = str | None


@dataclass(frozen=True)
class Settings:
    root: str = setting(f"{Path.home()}/.batchbridge-tsp", address=True, help="its directory")
    slots: int = setting(1, help="jobs at a time; counts when the queue's server is started")


class TspDriver(BatchDriver[Settings]):
    name, contract, Settings = "tsp", 1, Settings
    capabilities = Capabilities(
        idempotency="exact", absence=True, history=True, no_reruns=True, secrets=True, upload=2**30
    )

    def submit(self, submissions: Sequence[Submission]) -> Iterator[Receipt]:
        for submission in submissions:
            with self._queue() as root, (root / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                job = root / f"bb-{sha256(submission.key.encode()).hexdigest()[:32]}"
                new = not (job / "accepted").exists() and job.name not in self._listed()
                if new:
                    self._enqueue(submission, job)
            yield Receipt(submission.key, id=job.name, created=new)

    def _enqueue(self, submission: Submission, job: Path) -> None:
        spec, work = submission.spec, Path.cwd()
        job.mkdir(exist_ok=True)
        if submission.files:
            extract(submission.files, work := job / "work")
        env = {**BASE, **spec.env, **{k: s.reveal() for k, s in submission.secrets.items()}}
        argv = ("sh", "-c", START, "sh", str(job), str(work / (spec.workdir or "")), *spec.command)
        self._tsp("-n", "-B", "-L", job.name, *argv, env=env)
        (job / "accepted").touch()

    def snapshot(self, scope: model.Scope, known: Collection[str]) -> model.Batch:
        with self._queue() as root:
            jobs = self._listed()
            return model.Batch(tuple(self._told(root / id, *jobs.get(id, GONE)) for id in known))

    def _told(self, job: Path, number: str, state: str) -> Seen | model.Absent:
        cancelled = (job / "cancelled").exists()
        if not state and cancelled:  # it was removed while it waited
            return Seen(job.name, JobState.CANCELLED, final=True)
        if not state:
            return model.Absent(job.name, time.time())
        if state in STOP:
            return Seen(job.name, JobState.RUNNING if state == "running" else JobState.QUEUED)
        [(how, value)] = STATUS.findall(self._tsp("-i", number))
        code, signal = (int(value), None) if how == "code" else (None, int(value))
        failed = JobState.CANCELLED if cancelled else JobState.FAILED
        end = JobState.SUCCEEDED if code == 0 else failed
        return Seen(job.name, end, final=True, exit_code=code, signal=signal)

    def cancel(self, refs: Sequence[JobRef], *, reason: str) -> None:
        with self._queue() as root:
            jobs = self._listed()
            for ref in sorted(refs, key=lambda ref: jobs.get(ref.id, GONE)[1] != "queued"):
                while (job := self._listed().get(ref.id)) and job[1] in STOP:
                    (root / ref.id / "cancelled").touch()
                    with suppress(CalledProcessError):  # refused until a new job has a pid
                        self._tsp(STOP[job[1]], job[0])
                        break

    def read_logs(
        self, ref: JobRef, attempt: int, stream: Stream, cursor: Cursor, *, ended: bool, wait: float
    ) -> LogPage:
        start, deadline = int(cursor or 0), time.monotonic() + wait
        with self._queue() as root, (root / ref.id / stream).open("a+b") as file:
            file.seek(start)
            while not (data := file.read(2**18)) and not ended and time.monotonic() < deadline:
                time.sleep(0.05)
        return LogPage(data, str(start + len(data)), eof=ended and not data)

    def probe(self) -> list[model.Check]:
        try:
            with self._queue():
                return [model.Check("task-spooler", True, self._tsp("-V"))]
        except TransportError as error:
            return [model.Check("task-spooler", False, str(error), error.remedy)]

    @contextmanager
    def _queue(self) -> Iterator[Path]:
        try:
            Path(self.settings.root).mkdir(mode=0o700, parents=True, exist_ok=True)
            yield Path(self.settings.root)
        except (OSError, CalledProcessError) as why:
            raise TransportError(f"tsp: {getattr(why, 'stderr', '') or why}", remedy=HELP) from why

    def _listed(self) -> dict[str, tuple[str, str]]:
        return {id: (number, state) for number, state, id in LISTED.findall(self._tsp())}

    def _tsp(self, *arguments: str, env: Mapping[str, str] = BASE) -> str:
        root, slots = self.settings.root, str(self.settings.slots)
        env = {**env, "TS_SOCKET": f"{root}/socket", "TS_SLOTS": slots}
        done = run(["tsp", *arguments], env=env, capture_output=True, check=True, encoding="latin1")
        return done.stdout
