"""Files that settings name."""

from __future__ import annotations

from pathlib import Path

from batchbridge.errors import ConfigError

UNREADABLE = (OSError, RuntimeError)
"""What reading a file may raise; RuntimeError: ``~somebody``, who is nobody."""


def unreadable(name: str, path: Path | str, error: Exception, remedy: str = "") -> ConfigError:
    """The error of a file that cannot be read; `name` is the setting's."""
    words = getattr(error, "strerror", None) or " ".join(str(error).split())
    return ConfigError(f"{name}: {path} cannot be read: {words}", remedy=remedy)
