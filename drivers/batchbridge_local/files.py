"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Make a file that only we can read; FileExistsError where there is one."""
    fill(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), data)


def fill(fd: int, data: bytes) -> None:
    """Write all of `data` and close the descriptor, whatever happens."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def link_new(path: Path, data: bytes) -> None:
    """Make `path` with exactly this content, or raise FileExistsError; never half of it."""
    aside = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        write_new(aside, data)
        path.hardlink_to(aside)
    finally:
        aside.unlink(missing_ok=True)


def remove(place: Path) -> None:
    """Remove a directory with all that is in it; what is gone already is fine."""
    if place.exists():
        import shutil  # only where something is removed

        shutil.rmtree(place, ignore_errors=True)
