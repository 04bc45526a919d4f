"""One task of one allocation, run as a process of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.drivers.nomad.agent.logs import Log
from tests.drivers.nomad.agent.shapes import TIMED_OUT, Object, blank, date, duration, event
from tests.drivers.nomad.agent.templates import (
    Invalid,
    Look,
    Waits,
    interpolated,
    rendered,
    variables_of,
)

CONTAINERS = ("docker", "podman")
ATTRIBUTES = ("attr.", "node.", "meta.")


class Unpullable(OSError):
    """An image that no registry has."""


class Task:
    """What a client does with a task. `tell` is called after each change of :attr:`state`."""

    def __init__(
        self,
        job: Object,
        alloc: Object,
        node: Object,
        *,
        folder: Path,
        inherited: Mapping[str, str],
        images: frozenset[str] | None,
        look: Look,
        changed: threading.Condition,
        tell: Callable[[], None],
    ) -> None:
        self.job, self.alloc, self.node = job, alloc, node
        (self.group,) = job["TaskGroups"]
        (self.spec,) = self.group["Tasks"]
        self.state = blank("state")
        self.oom = False
        self._folder, self._inherited, self._images = folder, inherited, images
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
            self._folder / "alloc" / "logs",
            f"{self.spec['Name']}.{stream}",
            config["MaxFileSizeMB"] << 20,
            config["MaxFiles"],
        )

    # -- its life ----------------------------------------------------------------------------

    def run(self) -> None:
        """Live from the first event to the last."""
        limit = self.group["MaxRunDuration"]
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
            argv = self._argv(env)
            for stream in ("stdout", "stderr"):
                self.log(stream).create()
            self._process = subprocess.Popen(
                argv,
                env=env,
                cwd=self._home,
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
        for pipe in streams.values():
            if pipe:
                pipe.close()
        return code

    def _terminated(self, code: int) -> None:
        number = -code if code < 0 else 0
        shown, contained = 128 + number if number else code, self.spec["Driver"] in CONTAINERS
        details = {"exit_code": str(shown), "oom_killed": str(self.oom).lower()}
        words = f"Exit Code: {shown}"
        if contained:  # a container's engine tells no signal
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

    @property
    def _home(self) -> Path:
        return self._folder / str(self.spec["Name"])

    def _environment(self) -> dict[str, str]:
        """The variables of the task, once its templates are there."""
        nomad = self._nomad_variables()
        for name in ("NOMAD_TASK_DIR", "NOMAD_SECRETS_DIR", "NOMAD_ALLOC_DIR"):
            Path(nomad[name]).mkdir(parents=True, exist_ok=True)
        said = interpolated(self.spec["Env"] or {}, {**nomad, **self._facts()}, strict=False)
        contained = self.spec["Driver"] in CONTAINERS
        below = {"PATH": self._inherited["PATH"]} if contained else self._inherited
        env = {**below, **nomad, **said}
        for template in self.spec["Templates"] or []:
            env |= self._written(template)
        return env

    def _nomad_variables(self) -> dict[str, str]:
        job, alloc, spec = self.job, self.alloc, self.spec
        meta = {**(job["Meta"] or {}), **(self.group["Meta"] or {}), **(spec["Meta"] or {})}
        named = {f"NOMAD_META_{name}": str(value) for name, value in meta.items()}
        return {
            "NOMAD_ALLOC_DIR": str(self._folder / "alloc"),
            "NOMAD_TASK_DIR": str(self._home / "local"),
            "NOMAD_SECRETS_DIR": str(self._home / "secrets"),
            "NOMAD_ALLOC_ID": alloc["ID"],
            "NOMAD_SHORT_ALLOC_ID": alloc["ID"][:8],
            "NOMAD_ALLOC_NAME": alloc["Name"],
            "NOMAD_ALLOC_INDEX": "0",
            "NOMAD_TASK_NAME": spec["Name"],
            "NOMAD_GROUP_NAME": self.group["Name"],
            "NOMAD_JOB_ID": job["ID"],
            "NOMAD_JOB_NAME": job["Name"],
            "NOMAD_DC": self.node["Datacenter"],
            "NOMAD_REGION": job["Region"],
            "NOMAD_NAMESPACE": job["Namespace"],
            "NOMAD_MEMORY_LIMIT": str(spec["Resources"]["MemoryMB"]),
            "NOMAD_CPU_LIMIT": str(spec["Resources"]["CPU"]),
            "NOMAD_PARENT_CGROUP": "nomad.slice",
            **named,
            **{name.upper(): value for name, value in named.items()},
        }

    def _facts(self) -> dict[str, str]:
        """What ``${attr.…}`` and ``${node.…}`` are here."""
        node = self.node
        attributes = {f"attr.{name}": value for name, value in node["Attributes"].items()}
        named = {"node.unique.name": node["Name"], "node.unique.id": node["ID"]}
        return {**attributes, **named, "node.datacenter": node["Datacenter"]}

    def _written(self, template: Object) -> dict[str, str]:
        """Write a template into the task's directory; the variables that it sets."""
        text, path = self._rendered(template), self._home / template["DestPath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(int(template["Perms"], 8))
        return dict(variables_of(text)) if template["Envvars"] else {}

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

    def _argv(self, env: dict[str, str]) -> list[str]:
        config = interpolated(self.spec["Config"], {**env, **self._facts()}, strict=True)
        if self.spec["Driver"] in CONTAINERS:
            self._pull(config["image"])
            starts = [*config.get("entrypoint", []), *filter(None, [config.get("command")])]
            return [*starts, *config.get("args", [])]
        self._known(config, ("command", "args", "work_dir", "cgroup_v1_override", "oom_score_adj"))
        if not shutil.which(config["command"], path=env.get("PATH")):
            raise FileNotFoundError(
                "failed to launch command with executor: rpc error: code = Unknown desc = binary "
                f'"{config["command"]}" could not be found'
            )
        return [config["command"], *config.get("args", [])]

    def _known(self, config: Object, names: tuple[str, ...]) -> None:
        for name in config.keys() - {*names}:
            raise Invalid(
                "2 errors occurred:\n\t* failed to parse config: \n\t* Invalid label: "
                f'No argument or block type is named "{name}".\n\n'
            )

    def _pull(self, image: str) -> None:
        if self._images is None or image in self._images:
            return
        words = "Downloading image"
        self._happen("Driver", words, details={"image": image}, DriverMessage=words)
        raise Unpullable(
            f"Failed to pull `{image}`: Error response from daemon: pull access denied for "
            f"{image}, repository does not exist or may require 'docker login'"
        )
