"""What ``batchbridge doctor`` looks at: the client library, the server, the queue, the logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from batchbridge.errors import BatchBridgeError, ConfigError
from batchbridge.model import Check
from batchbridge_armada.libraries import versions
from batchbridge_armada.refusals import Missing, NotStarted, Refused
from batchbridge_armada.settings import ArmadaSettings

if TYPE_CHECKING:
    from batchbridge_armada.api import Api

NOBODY = "0" * 26
"""No job has this id."""


def checks(settings: ArmadaSettings, connect: Callable[[], Api]) -> Iterator[Check]:
    """What is found, one thing after another; `connect` may fail, which is found too."""
    client = _check("armada-client", lambda: _client(connect))
    yield client
    if not client.ok:
        return
    api = connect()
    yield _check("Armada answers", lambda: _server(api))
    if settings.queue:
        yield _check("the queue is there", lambda: _queue(api, settings.queue))
    yield from _logs(api, settings)


def _client(connect: Callable[[], Api]) -> str:
    connect()
    return f"{versions()}; a server of Armada does not tell its version"


def _server(api: Api) -> str:
    api.health()
    return api.address


def _queue(api: Api, queue: str) -> str:
    if not api.queue_exists(queue):
        raise ConfigError(
            f"Armada has no queue {queue!r}", remedy="armadactl get queues lists them"
        )
    return queue


def _logs(api: Api, settings: ArmadaSettings) -> Iterator[Check]:
    """Binoculars of each cluster whose address is known by itself."""
    places = dict(settings.binoculars_of)
    if settings.binoculars and "{cluster_id}" not in settings.binoculars:
        places.setdefault("", settings.binoculars)
    for cluster, address in places.items():
        name = f"logs of {cluster}" if cluster else "logs"
        yield _check(name, partial(_binoculars, api, cluster, address, settings.namespace))
    if not places:
        detail = settings.binoculars or "no address of Binoculars is set: no job has logs here"
        yield Check("logs", True, detail)


def _binoculars(api: Api, cluster: str, address: str, namespace: str) -> str:
    # That it found no pod shows that it looked for one.
    with suppress(Missing, NotStarted, Refused):
        api.logs(cluster, NOBODY, namespace, "")
    return address


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except BatchBridgeError as error:
        return Check(name, False, str(error), error.remedy)
