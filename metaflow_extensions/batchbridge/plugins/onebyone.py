"""Lines on their way to Metaflow's runtime, each by itself.

Whenever a pipe has news, the runtime takes all that is in it and shows one line; of lines that come
at once it keeps the others back until there is news again. So a line waits until the one before it
was taken.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from fcntl import ioctl
from termios import FIONREAD
from typing import IO

TAKEN = 1.0
"""Seconds that the lines of one burst may wait altogether."""

MANY = 100
"""Lines of one burst from which on they do not wait: they are to pass quickly."""

_lock = threading.Lock()


def show(lines: Sequence[bytes], out: IO[bytes]) -> None:
    """Write these lines. BrokenPipeError where nobody is left who reads."""
    deadline = time.monotonic() + TAKEN
    with _lock:
        for some in lines if len(lines) < MANY else [b"".join(lines)]:
            while _unread(out) and time.monotonic() < deadline:
                time.sleep(0.001)
            out.write(some)
            out.flush()


def _unread(out: IO[bytes]) -> int:
    """Bytes that the reader of a pipe has not taken; 0 where that is none, or not to be known."""
    try:
        if not stat.S_ISFIFO(os.fstat(out.fileno()).st_mode):
            return 0
        return int.from_bytes(ioctl(out, FIONREAD, bytes(4)), sys.byteorder)
    except OSError:
        return 0
