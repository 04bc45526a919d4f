"""Every error that batchbridge raises, in one tree.

::

    BatchBridgeError
    ├── UsageError              refused before any I/O; exit code 2
    │   ├── SpecError               a job, a reference or a flag is malformed
    │   │   └── Unsupported         the engine has no such capability
    │   └── ConfigError             a setting is unknown, malformed or missing
    │       └── DriverNotFound      no driver has that name
    ├── DriverBroken            a driver is installed but cannot be used
    ├── DriverBug               a driver broke its contract
    ├── NoSuchJob               the engine does not know the job, and we never saw it
    ├── Rejected                the engine refused the job
    │   └── KeyConflict             the key belongs to a job with another spec
    ├── OutcomeUnknown          a submit whose answer never came, and that is not safe to repeat
    ├── AuthError               who we are was refused, or what we may do
    ├── LogsUnavailable         the engine cannot be asked for this job's logs
    ├── StoreError              files could not be stored, packed or fetched
    ├── TransportError          the engine could not be asked; trying again can help
    │   ├── RateLimited             too often; `retry_after` seconds
    │   └── CursorExpired           a watch must begin anew
    ├── WaitTimeout             (also a TimeoutError) the wait ended, the job did not
    └── JobFailed               `Job.result()` of a job that did not succeed

Each says what happened (with the engine's own words), what to do (`remedy`), which exit code the
command line ends with (`exit_code`), and whether the same call may succeed later (`retryable`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from batchbridge.states import Record


class BatchBridgeError(Exception):
    """The root. ``str(error)`` is one line for people; :attr:`remedy` is the next."""

    exit_code: int = 125
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UsageError(BatchBridgeError):
    """What was asked for cannot be meant; nothing was sent anywhere."""

    exit_code = 2


class SpecError(UsageError):
    """A job, a reference or a flag is malformed; :attr:`path` names the field."""

    def __init__(self, message: str, *, path: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.path = path


class Unsupported(SpecError):
    """The job needs a capability that the engine's driver does not declare."""


class ConfigError(UsageError):
    """A setting is unknown, malformed, missing or not allowed where it stands."""


class DriverNotFound(ConfigError):
    """No installed driver has that name."""


class DriverBroken(BatchBridgeError):
    """The driver is there, but importing it fails or it speaks another version of the contract."""


class DriverBug(BatchBridgeError):
    """A driver returned what its contract forbids. No job changed state because of it."""


class NoSuchJob(BatchBridgeError):
    """An authoritative answer: the engine does not know this job, nor did this process ever."""


class Rejected(BatchBridgeError):
    """The engine refused the job, in its own words. The same job will be refused again."""


class KeyConflict(Rejected):
    """The key already names a job whose spec is another."""

    @classmethod
    def of(cls, key: str, job_id: str) -> Self:
        """The conflict over that key, which names that job."""
        return cls(
            f"the key {key!r} belongs to the job {job_id}, whose spec is another",
            remedy="use another key, or submit the same spec",
        )


class OutcomeUnknown(BatchBridgeError):
    """The answer to a submit never came, and repeating it could run the job twice."""


class AuthError(BatchBridgeError):
    """The engine does not know us, or does not allow this."""


class LogsUnavailable(BatchBridgeError):
    """There is no way to the logs: no address is configured, or the engine keeps none."""


class StoreError(BatchBridgeError):
    """Files or records could not be written to, or read from, where they are kept."""


class TransportError(BatchBridgeError):
    """The engine could not be asked. It says nothing about any job.

    :attr:`sent` is False where it is certain that the request never reached the engine.
    """

    retryable = True

    def __init__(self, message: str, *, remedy: str = "", sent: bool = True) -> None:
        super().__init__(message, remedy=remedy)
        self.sent = sent


class RateLimited(TransportError):
    """The engine asked to be left alone for :attr:`retry_after` seconds."""

    def __init__(
        self, message: str, *, retry_after: float = 1.0, remedy: str = "", sent: bool = True
    ) -> None:
        super().__init__(message, remedy=remedy, sent=sent)
        self.retry_after = retry_after


class CursorExpired(TransportError):
    """The engine no longer has what follows the cursor; watch from a snapshot again."""


class WaitTimeout(BatchBridgeError, TimeoutError):
    """The time given to a wait has passed; the job goes on."""


class JobFailed(BatchBridgeError):
    """The job ended, and not with success. :attr:`record` says how, :attr:`log_tail` shows why."""

    def __init__(self, message: str, *, record: Record, log_tail: str = "") -> None:
        super().__init__(message)
        self.record = record
        self.log_tail = log_tail
        self.exit_code = record.exit_status or 1


def of_driver(name: str, error: Exception) -> BatchBridgeError:
    """What a driver raised, where it is one of these errors; any other is a bug of the driver."""
    if isinstance(error, BatchBridgeError):
        return error
    return DriverBug(
        f"the driver {name!r} raised {type(error).__name__}: {error}",
        remedy="please report it to the driver's authors; batchbridge drivers names them",
    )
