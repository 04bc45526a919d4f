"""One job set's stream of events: read in one thread, broken off from another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from batchbridge_armada import replies
from batchbridge_armada.identity import Identity
from batchbridge_armada.protocol import event_pb2
from batchbridge_armada.refusals import Unauthorized


class Stream:
    """What happens in one job set: from a message on, or what is stored of it now."""

    def __init__(self, method: Any, request: Any, identity: Identity, asked: str) -> None:
        self._method = method
        self._request = request
        self._identity = identity
        self._asked = asked
        self._call: Any = None
        self._over = False

    def read(self) -> Iterator[event_pb2.EventStreamMessage]:
        """Its messages, until it ends or is broken off."""
        if self._over:
            return
        value = self._identity.credential()
        self._call = self._method(self._request, metadata=self._identity.metadata(value))
        if self._over:
            self._call.cancel()
        try:
            yield from self._call
        except grpc.RpcError as error:
            if self._over:
                return
            problem = replies.problem(error, self._asked)
            if isinstance(problem, Unauthorized):
                self._identity.refused(value)  # so that the next stream has another
            raise problem from error

    def break_off(self) -> None:
        """Make a read that waits return, from another thread."""
        self._over = True
        if self._call is not None:
            self._call.cancel()
