"""One task of one allocation, run as a process of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from tests.drivers.nomad.agent.logs import Log
from tests.drivers.nomad.agent.shapes import TIMED_OUT, Object, blank, date, duration, event
from tests.drivers.nomad.agent.templates import Invalid, Look, Waits, rendered
from tests.drivers.nomad.agent.workplace import Workplace


class Unpullable(OSError):
    """An image that no registry has."""


class Task:
    """What a client does with a task. `tell` is called after each change of :attr:`state`."""

    def __init__(
        self,
        place: Workplace,
        *,
        images: frozenset[str] | None,
        look: Look,
        changed: threading.Condition,
        tell: Callable[[], None],
    ) -> None:
        self.job, self.alloc, self.node = place.job, place.alloc, place.node
        self.spec = place.task
        self.state = blank("state")
        self.oom = False
        self._place, self._images = place, images
        self._look, self._changed, self._tell = look, changed, tell
        self._lock = threading.RLock()
        self._killed = threading.Event()
        self._description = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._timers: list[threading.Timer] = []

    # -- what is known of it -----------------------------------------------------------------

    @property
    def status(self) -> tuple[str, str]:
        """Its allocation's status, and the description of it."""
        if self._description == TIMED_OUT:  # its task may take a while to end
            return "complete", TIMED_OUT
        if self.state["State"] != "dead":
            running = self.state["State"] == "running"
            return (
                ("running", "Tasks are running")
                if running
                else ("pending", "No tasks have started")
            )
        if self.state["Failed"]:
            return "failed", "Failed tasks"
        return "complete", "All tasks have completed"

    @property
    def started(self) -> bool:
        """Whether it has log files."""
        return self.state["StartedAt"] is not None

    def log(self, stream: str) -> Log:
        """Its standard output or error."""
        config = self.spec["LogConfig"]
        return Log(
            self._place.folder / "alloc" / "logs",
            f"{self.spec['Name']}.{stream}",
            config["MaxFileSizeMB"] << 20,
            config["MaxFiles"],
        )

    # -- its life ----------------------------------------------------------------------------

    def run(self) -> None:
        """Live from the first event to the last."""
        limit = self._place.group["MaxRunDuration"]
        if limit:
            self._later(limit / 1e9, lambda: self.kill(TIMED_OUT))
        self._happen("Received", "Task received by client")
        words = "Building Task Directory"
        self._happen("Task Setup", words, details={"message": words}, Message=words)
        try:
            process = self._start(self._environment())
        except Invalid as error:
            self._fail("Failed Validation", "validation_error", "ValidationError", str(error))
        except OSError as error:
            self._fail("Driver Failure", "driver_error", "DriverError", str(error))
        else:
            self._end(process)
        for timer in self._timers:
            timer.cancel()

    def kill(self, message: str = "") -> None:
        """End it: with its signal, and by force when the time it is given has passed."""
        with self._lock:
            if self._killed.is_set() or self.state["State"] == "dead":
                return
            grace = self.spec["KillTimeout"]
            said = message or f"Sent interrupt. Waiting {duration(grace)} before force killing"
            details = {"kill_timeout": duration(grace)}
            self._happen("Killing", said, details=details, KillTimeout=grace)
            self._description = message
            self._killed.set()
            if self._process is not None:
                number = signal.Signals[self.spec["KillSignal"] or "SIGINT"]
                self._send(number, group=False)
                self._later(grace / 1e9, self.destroy)

    def reconnect(self) -> None:
        """Its node was cut off, and is heard again."""
        with self._lock:
            if self.state["State"] == "running" and not self._killed.is_set():
                self._happen("Reconnected", "Client reconnected")

    def destroy(self) -> None:
        """End whatever of it still runs, at once."""
        self._killed.set()
        self._send(signal.SIGKILL, group=True)

    def _start(self, env: dict[str, str]) -> subprocess.Popen[bytes] | None:
        """The process; None where it was killed before it began."""
        with self._lock:
            if self._killed.is_set():
                return None
            config = self._place.config(env)
            if self._place.contained:
                self._pull(config["image"])
            argv = self._place.argv(config, env)
            for stream in ("stdout", "stderr"):
                self.log(stream).create()
            self._process = subprocess.Popen(
                argv,
                env=env,
                cwd=self._place.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            self.state |= {"State": "running", "StartedAt": date()}
            self._happen("Started", "Task started by client")
            return self._process

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            code = self._finish(process)
            with self._lock:
                self._terminated(code)
        with self._lock:
            if process is not None and self._killed.is_set() and not self.oom:
                self._happen("Killed", "Task successfully killed")
            self._die()

    def _finish(self, process: subprocess.Popen[bytes]) -> int:
        """Copy what it writes, and wait for its end; what it leaves behind ends with it."""
        streams = {"stdout": process.stdout, "stderr": process.stderr}
        copiers = [
            threading.Thread(target=self.log(name).copy, args=(pipe,), daemon=True)
            for name, pipe in streams.items()
            if pipe
        ]
        for copier in copiers:
            copier.start()
        code = process.wait()
        self._send(signal.SIGKILL, group=True)
        for copier in copiers:
            copier.join()
        _await_end_of(process.pid)
        for pipe in streams.values():
            if pipe:
                pipe.close()
        return code

    def _terminated(self, code: int) -> None:
        number = -code if code < 0 else 0
        shown = 128 + number if number else code
        details = {"exit_code": str(shown), "oom_killed": str(self.oom).lower()}
        words = f"Exit Code: {shown}"
        if self._place.contained:  # a container's engine tells no signal
            words, number = self._contained(words, shown, details), 0
        details["signal"] = str(number)
        words += f", Signal: {number}" if number else ""
        message = details.get("exit_message", "")
        self._happen(
            "Terminated", words, details=details, ExitCode=shown, Signal=number, Message=message
        )
        if shown and not (self._killed.is_set() and not self.oom):
            self._give_up()

    def _contained(self, words: str, code: int, details: Object) -> str:
        if not code:
            return words
        said = f"Docker container exited with non-zero exit code: {code}"
        details["exit_message"] = "OOM Killed" if self.oom else said
        return f'{words}, Exit Message: "{details["exit_message"]}"'

    def _fail(self, kind: str, detail: str, field: str, words: str) -> None:
        with self._lock:
            self._happen(kind, words, details={detail: words}, **{field: words})
            self._give_up()
            self._die()

    def _give_up(self) -> None:
        words = "Policy allows no restarts"
        details = {"restart_reason": words, "fails_task": "true"}
        self.state["Failed"] = True
        self._happen("Not Restarting", words, details=details, RestartReason=words, FailsTask=True)

    def _die(self) -> None:
        self.state |= {"State": "dead", "FinishedAt": date()}
        self._tell()

    def _happen(self, kind: str, words: str = "", **fields: object) -> None:
        """Note an event: the last ten are kept."""
        with self._lock:
            told = [*self.state["Events"], event(kind, words, **fields)]  # type: ignore[arg-type]
            self.state["Events"] = told[-10:]
            self._tell()

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, then)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _send(self, number: signal.Signals, *, group: bool) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send = os.killpg if group else os.kill
                send(self._process.pid, number)

    # -- what it runs ------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """Its variables, once all that its templates read is there."""
        env = self._place.environment()
        for template in self.spec["Templates"] or []:
            env |= self._place.write(template, self._rendered(template))
        return env

    def _rendered(self, template: Object) -> str:
        """Its text, once all that it reads is there; of a task that was killed meanwhile, none."""
        told = ""
        while not self._killed.is_set():
            try:
                return rendered(template, self._look)
            except Waits as missing:
                where = f"{missing}@{self.job['Namespace']}.{self.job['Region']}"
                if told != where:
                    self._happen("Template", f"Missing: nomad.var.block({where})")
                told = where
                self._await(str(missing))
        return ""

    def _await(self, path: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._look(path) is not None or self._killed.is_set())

    def _pull(self, image: str) -> None:
        if self._images is None or image in self._images:
            return
        words = "Downloading image"
        self._happen("Driver", words, details={"image": image}, DriverMessage=words)
        raise Unpullable(
            f"Failed to pull `{image}`: Error response from daemon: pull access denied for "
            f"{image}, repository does not exist or may require 'docker login'"
        )


def _await_end_of(group: int) -> None:
    """Until no process of the group is left; what was killed goes when its parent notes it."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.005)
