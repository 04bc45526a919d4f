"""The node: it runs the one container of each pod as a process, and says how that goes."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localdev.kubernetes import statuses
from localdev.kubernetes.containers import Container, limits, read_log, variables
from localdev.kubernetes.statuses import Ending
from localdev.kubernetes.store import Name, Object, Problem, Store, now, timestamp
from localdev.kubernetes.usage import Overrun, memory, overrun

IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
LOOK = 0.25
"""Seconds between two looks at what containers use."""


@dataclass(slots=True)
class Running:
    """A pod whose container was started."""

    pod: Object
    container: Container
    overrun: Overrun | None = None


class Node:
    """One node, and the pods on it. Every pod has a directory of its own below `root`."""

    def __init__(self, store: Store, name: str, root: Path) -> None:
        self.store = store
        self.name = name
        self._root = root
        self._running: dict[Name, Running] = {}
        self._threads: dict[Name, threading.Thread] = {}
        self._closed = threading.Event()
        self._watchman = threading.Thread(target=self._look)
        self._watchman.start()

    def close(self) -> None:
        """End every container, and wait for it."""
        self._closed.set()
        for running in list(self._running.values()):
            running.container.end(0)
        for thread in (*self._threads.values(), self._watchman):
            thread.join()

    # -- what is asked of it -----------------------------------------------------------------

    def create(self, name: Name, pod: Object) -> Object:
        """Add a pod and start it; Problem 422 of one that cannot be run here."""
        _check(pod)
        pod["spec"]["nodeName"] = self.name
        pod["status"] = statuses.pending("ContainerCreating", pod)
        pod = self.store.create(name, pod)
        thread = threading.Thread(target=self._live, args=[name, pod])
        self._threads[name] = thread
        thread.start()
        return pod

    def delete(self, name: Name, grace: float | None) -> Object:
        """End a pod within its grace, then remove it."""
        pod = self.store.get(name)
        running = self._running.get(name)
        if grace is None:
            grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        if running is None:
            return self._remove(name)
        pod = self.store.change(name, lambda pod: _mark_deleted(pod, grace))
        threading.Thread(target=running.container.end, args=[grace]).start()
        return pod

    def log(self, name: Name, *, since: str, limit: int | None, tail: int | None) -> bytes:
        """Its output so far; Problem 400 while it has not begun."""
        pod = self.store.get(name)
        state = pod["status"]["containerStatuses"][0]["state"]
        if "waiting" in state:
            container, reason = pod["spec"]["containers"][0]["name"], state["waiting"]["reason"]
            words = f'container "{container}" in pod "{name.name}" is waiting to start: {reason}'
            raise Problem(400, "BadRequest", words)
        log = self._folder(pod) / "log"
        return read_log(log, since=since, limit=limit, tail=tail) if log.exists() else b""

    # -- a pod's life ------------------------------------------------------------------------

    def _live(self, name: Name, pod: Object) -> None:
        try:
            container = self._start(pod)
        except Problem as waiting:
            self._tell(name, statuses.pending(waiting.reason, pod, waiting.message))
            event = name._replace(kind="events", name=f"{name.name}.{pod['metadata']['uid']}")
            self.store.create(event, statuses.warning(pod, waiting.message))
            return
        except OSError as error:
            program = pod["spec"]["containers"][0]["command"][0]
            self._tell(name, statuses.ended(pod, statuses.not_started(program, error)))
            return
        with self.store.changed:
            self._running[name] = running = Running(pod, container)
            self._tell(name, statuses.running(pod))
        code = container.wait()
        with self.store.changed:
            del self._running[name]
            self._tell(name, statuses.ended(pod, _ending(code, running)))
            if self._has("deletionTimestamp", name):
                self._remove(name)

    def _start(self, pod: Object) -> Container:
        """Raises Problem for what may yet come, OSError for what cannot be started."""
        container, folder = pod["spec"]["containers"][0], self._folder(pod)
        _pull(container.get("image", ""))
        (folder / "work").mkdir(parents=True)
        (folder / "tmp").mkdir()
        base = {
            "PATH": os.environ["PATH"],
            "HOSTNAME": pod["metadata"]["name"],
            "TMPDIR": str(folder / "tmp"),
        }
        namespace = pod["metadata"]["namespace"]
        try:
            env = variables(container, base, lambda name: self._secret(namespace, name))
        except KeyError as error:
            words = f"couldn't find key {error.args[0]} in the secret"
            raise Problem(400, "CreateContainerConfigError", words) from error
        return Container(container, env, folder)

    def _secret(self, namespace: str, name: str) -> dict[str, str]:
        """The values of a secret; Problem if there is none."""
        try:
            return statuses.secret_values(self.store.get(Name("secrets", namespace, name)))
        except Problem as error:
            raise Problem(
                400, "CreateContainerConfigError", f'secret "{name}" not found'
            ) from error

    def _tell(self, name: Name, status: Object) -> None:
        with suppress(Problem):  # it was removed meanwhile
            self.store.change(name, lambda pod: pod.update(status=status))

    def _has(self, mark: str, name: Name) -> bool:
        try:
            return mark in self.store.get(name)["metadata"]
        except Problem:
            return False

    def _remove(self, name: Name) -> Object:
        pod = self.store.remove(name)
        shutil.rmtree(self._folder(pod), ignore_errors=True)
        self._threads.pop(name, None)
        return pod

    def _folder(self, pod: Object) -> Path:
        return self._root / str(pod["metadata"]["uid"])

    # -- limits ------------------------------------------------------------------------------

    def _look(self) -> None:
        while not self._closed.wait(LOOK):
            with self.store.changed:
                unhurt = [one for one in self._running.values() if one.overrun is None]
            used = memory({one.container.session for one in unhurt})
            for running in unhurt:
                resident = used[running.container.session]
                running.overrun = overrun(running.container, running.pod, resident)
                if running.overrun:
                    self._stop(running.container, running.overrun.grace)

    def _stop(self, container: Container, grace: float) -> None:
        threading.Thread(target=container.end, args=[grace]).start()


def _check(pod: Object) -> None:
    spec = pod["spec"]
    unknown: dict[str, Callable[[], object]] = {
        "init containers": lambda: spec.get("initContainers"),
        "more than one container": lambda: len(spec["containers"]) > 1,
        "volumes": lambda: spec["containers"][0].get("volumeMounts"),
        "no command": lambda: not spec["containers"][0].get("command"),
    }
    for what, there in unknown.items():
        if there():
            words = f"processes stand in for pods here, which cannot have {what}"
            raise Problem(422, "Invalid", words)
    limits(spec["containers"][0])


def _pull(image: str) -> None:
    """Problem of an image that has no name, or is of a registry that cannot be: ``….invalid``."""
    if not IMAGE.fullmatch(image):
        words = (
            f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}":'
            " invalid reference format"
        )
        raise Problem(400, "InvalidImageName", words)
    registry, _, rest = image.partition("/")
    if registry.endswith(".invalid"):
        name, _, tag = rest.partition(":")
        manifest = f"https://{registry}/v2/{name}/manifests/{tag or 'latest'}"
        words = (
            f'Failed to pull image "{image}": failed to pull and unpack image "{image}":'
            f' failed to resolve reference "{image}": failed to do request: Head "{manifest}":'
            f" dial tcp: lookup {registry}: no such host"
        )
        raise Problem(400, "ErrImagePull", words)


def _ending(code: int, running: Running) -> Ending:
    over = running.overrun
    started = timestamp(running.container.started)
    if over is None:
        return Ending(code, "Completed" if code == 0 else "Error", started)
    return Ending(code, over.container, started, over.pod, over.message)


def _mark_deleted(pod: Object, grace: float) -> None:
    pod["metadata"].update(deletionTimestamp=now(), deletionGracePeriodSeconds=int(grace))
