"""Jobs looked after by Airflow's Nomad provider: the manager of its executor, as it is.

Its executor asks this manager about every task in turn, each time that the scheduler comes round
(``ExecutorInterface.sync``), which rests a second between two rounds. What the manager imports of
Airflow itself, and does not need for this, is a stand-in; so is the configuration.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import watched

REST = 1.0
"""Seconds: ``[scheduler] scheduler_idle_sleep_time``."""


class Configuration:
    """Nothing is configured."""

    def get(self, section: str, name: str, fallback: Any = None) -> Any:
        return fallback

    getint = getboolean = get


class Logging:
    """What logs where nobody reads."""

    log = logging.getLogger("airflow")


def stand_in(name: str, **holds: Any) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(holds)


def stand_ins() -> None:
    """The parts of Airflow that the provider's modules name."""
    import airflow

    airflow.__version__ = "3.1.0"
    stand_in("airflow.configuration", conf=Configuration())
    stand_in("airflow.exceptions", AirflowException=Exception)
    stand_in("airflow.utils.log.logging_mixin", LoggingMixin=Logging)
    stand_in("airflow.models.taskinstance", TaskInstance=object)
    stand_in("airflow.models.taskinstancekey", TaskInstanceKey=tuple)
    stand_in("airflow.sdk.types", RuntimeTaskInstanceProtocol=object)


def watch(address: str, ids: list[str]) -> Iterator[str]:
    stand_ins()
    import nomad
    from airflow.providers.nomad.manager import NomadManager
    from airflow.providers.nomad.models import JobInfoStatus

    where = urlsplit(address)
    manager = NomadManager()
    # Its own `initialize` leaves the port out.
    manager.nomad = nomad.Nomad(host=where.hostname, port=where.port)

    def is_dead(id: str) -> bool:
        job = manager.get_nomad_job_submission(id)
        manager.remove_job_if_hanging(id, job_status=job)
        return job is not None and job.Status == JobInfoStatus.dead

    while ids:
        ended = {id for id in ids if is_dead(id)}
        yield from ended
        ids = [id for id in ids if id not in ended]
        time.sleep(REST if ids else 0)


watched.main(watch)
