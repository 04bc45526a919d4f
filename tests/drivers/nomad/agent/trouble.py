"""What goes wrong between a client and an agent, on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tests.drivers.nomad.agent.answers import Answer


@dataclass(slots=True)
class Trouble:
    """What happens to the next `times` requests of one of these methods whose path begins so.

    `answer`: it is given instead of doing what was asked. `mute`: 200 and silence. `reset`: what
    was asked is done, and the connection is reset before an answer. `cut`: the answer's body ends
    after so many bytes. `bytes`: it comes in pieces of so many bytes.
    """

    method: str
    path: str
    times: int = 1
    answer: Answer | None = None
    mute: bool = False
    reset: bool = False
    cut: int | None = None
    bytes: int | None = None

    def shaped(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The body as it gets through."""
        left = self.cut
        for data in body:
            some = data if left is None else data[:left]
            step = self.bytes or max(len(some), 1)
            yield from (some[at : at + step] for at in range(0, len(some), step))
            if left is not None:
                left -= len(some)
                if left <= 0:
                    return


class Troubles:
    """Those that are still to come, and how often any has struck."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: list[Trouble] = []
        self.struck = 0

    def add(self, trouble: Trouble) -> None:
        """Let it happen."""
        with self._lock:
            self._coming.append(trouble)

    def strike(self, method: str, path: str) -> Trouble | None:
        """What happens to this request."""
        with self._lock:
            for trouble in self._coming:
                if method in trouble.method.split() and path.startswith(trouble.path):
                    trouble.times -= 1
                    if not trouble.times:
                        self._coming.remove(trouble)
                    self.struck += 1
                    return trouble
        return None
