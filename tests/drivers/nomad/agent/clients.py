"""The clients of a cluster: they run tasks, and tell the servers of them some times a second."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tests.drivers.nomad.agent.shapes import TERMINAL, Object, blank, evaluation
from tests.drivers.nomad.agent.state import Change, State
from tests.drivers.nomad.agent.task import Task
from tests.drivers.nomad.agent.workplace import Workplace


class Clients:
    """All nodes' clients. `freed` is called when an allocation has given its place back."""

    def __init__(
        self,
        state: State,
        freed: Callable[[], None],
        *,
        pace: float,
        env: Mapping[str, str],
        images: frozenset[str] | None,
    ) -> None:
        self.tasks: dict[str, Task] = {}
        self.collected: set[str] = set()
        self._state, self._freed, self._pace = state, freed, pace
        self._env, self._images = env, images
        self._news = threading.Condition()
        self._told: dict[str, Task] = {}
        self._closed = False
        self._folder = tempfile.TemporaryDirectory(prefix="nomad-", ignore_cleanup_errors=True)
        self._threads: list[threading.Thread] = []
        self._start(self._sync)

    def run(self, job: Object, alloc: Object, node: Object) -> None:
        """Run an allocation's task."""
        namespace = job["Namespace"]

        def look(path: str) -> Mapping[str, str] | None:
            found = self._state.variables.get((namespace, path))
            return None if found is None else found["Items"]

        def tell() -> None:
            with self._news:
                self._told[alloc["ID"]] = task
                self._news.notify_all()

        folder = Path(self._folder.name, alloc["ID"])
        task = Task(
            Workplace(job, alloc, node, folder, self._env),
            images=self._images,
            look=look,
            changed=self._state.changed,
            tell=tell,
        )
        self.tasks[alloc["ID"]] = task
        self._start(task.run)

    def kill(self, allocs: Iterable[Object]) -> None:
        """End their tasks, where their nodes can be reached. Call it without the state's lock."""
        for alloc in allocs:
            if self._reached(alloc):
                self.tasks[alloc["ID"]].kill()

    def resume(self, node: Object) -> None:
        """A node is back: end what should have ended, and tell of all else."""
        here = [task for task in self.tasks.values() if task.node["ID"] == node["ID"]]
        self.kill(task.alloc for task in here if task.alloc["DesiredStatus"] != "run")
        for task in here:
            task.reconnect()
        with self._news:
            self._told |= {task.alloc["ID"]: task for task in here}
            self._news.notify_all()

    def close(self) -> None:
        """End every task, and wait for it."""
        for task in list(self.tasks.values()):
            task.destroy()
        with self._news:
            self._closed = True
            self._news.notify_all()
        with self._state.changed:
            self._state.changed.notify_all()
        for thread in self._threads:
            thread.join(10)
        self._folder.cleanup()

    # -- telling -----------------------------------------------------------------------------

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _sync(self) -> None:
        """Tell of all that was changed, together, and not more often than the pace allows."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._told or self._closed)
                if self._closed:
                    return
            time.sleep(self._pace)
            with self._news:
                told, self._told = self._told, {}
            self._tell(list(told.values()))

    def _tell(self, tasks: list[Task]) -> None:
        with self._state.changed:
            known = [task for task in tasks if self._reached(task.alloc) and self._held(task)]
            for task in known:
                self._update(task)
            if known:
                changes = [change for task in known for change in self._changes(task)]
                self._state.apply("AllocationUpdated", changes)
        if any(task.alloc["ClientStatus"] in TERMINAL for task in known):
            self._freed()

    def _changes(self, task: Task) -> Iterator[Change]:
        """An allocation is told of; with one that was out of sight, that nobody waits any more."""
        followup = self._state.evaluations.get(task.alloc.get("FollowupEvalID", ""))
        back = followup is not None and followup["Status"] == "pending"
        if followup is not None and back:
            followup |= {"Status": "canceled", "StatusDescription": "allocs reconnected"}
            del task.alloc["FollowupEvalID"]
            yield "Evaluation", followup
        yield "Allocation", task.alloc
        if back:
            yield "Evaluation", evaluation(task.job, "reconnect", Status="complete")

    def _held(self, task: Task) -> bool:
        return task.alloc["ID"] in self._state.allocs

    def _reached(self, alloc: Object) -> bool:
        return bool(self._state.nodes[alloc["NodeID"]]["Status"] != "down")

    def _update(self, task: Task) -> None:
        alloc, network = task.alloc, blank("alloc")["NetworkStatus"]
        alloc["ClientStatus"], alloc["ClientDescription"] = task.status
        alloc["TaskStates"] = {task.spec["Name"]: dict(task.state)}
        alloc |= {"NetworkStatus": network, "ModifyTime": time.time_ns()}
