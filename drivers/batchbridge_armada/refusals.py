"""What Armada may answer that is told apart here, beside the errors of batchbridge."""

from __future__ import annotations

from batchbridge.errors import AuthError, BatchBridgeError, ConfigError


class Missing(BatchBridgeError):
    """NOT_FOUND, in Armada's own words."""


class Refused(BatchBridgeError):
    """Armada understood, and said no."""


class NoQueue(ConfigError):
    """Armada knows no such queue, or not yet."""


class Unauthorized(AuthError):
    """The credential was refused; another one may not be."""


class NotStarted(BatchBridgeError):
    """The container whose logs were asked for has not started."""
