"""This machine as an engine: a spool directory, and a supervisor that any verb starts.

What a job does here, step by step, and which record decides after a crash:

==================  =================================  ==========================================
file of the job     written by                         what it decides
==================  =================================  ==========================================
``job.json``        submit, before the job is visible  the job is owned, and QUEUED
``cancel``          cancel                             a queued job never starts
``claim.json``      the runner, by ``link``            the job is RUNNING; nobody starts it again
``end.json``        the runner, by ``rename``          how it ended
==================  =================================  ==========================================

The supervisor keeps nothing that these files do not say, so that killing it loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchbridge_local.driver import LocalDriver

__all__ = ["LocalDriver"]


def __getattr__(name: str) -> Any:
    # The supervisor imports this package too, and must not pay for the driver's imports.
    if name != "LocalDriver":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from batchbridge_local.driver import LocalDriver

    return LocalDriver
