"""What the kit does in another process: ``python -m batchbridge.testing.elsewhere``.

The parent sends a pickle of its import path, then one of the call. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from batchbridge.driver import BatchDriver
from batchbridge.model import Submission

IO = ("socket.", "subprocess.", "os.mkdir", "os.rename", "os.fork", "os.posix_spawn", "sqlite3.")


def elsewhere(function: Callable[..., Any], driver: BatchDriver[Any], *args: Any) -> Any:
    """What `function` of this module prints when another process calls it with a like driver."""
    call = pickle.dumps(sys.path) + pickle.dumps((function, type(driver), driver.settings, args))
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        input=call,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.stdout, f"the other process said nothing and ended with {done.returncode}"
    return json.loads(done.stdout)


def submit_and_die(
    kind: type[BatchDriver[Any]], settings: Any, submissions: Sequence[Submission]
) -> None:
    """Print the receipts' ids and be killed: no clean-up runs."""
    ids = [receipt.id for receipt in kind(settings).submit(submissions)]
    print(json.dumps(ids), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def construct(kind: type[BatchDriver[Any]], settings: Any) -> None:
    """Print what I/O the constructor does, and how many threads there are after it."""
    heard: list[str] = []
    listening = True

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if listening and (event.startswith(IO) or (event == "open" and _writes(args))):
            heard.append(event)

    sys.addaudithook(hear)
    kind(settings)
    listening = False
    print(json.dumps({"io": heard, "threads": threading.active_count()}), flush=True)


def _writes(args: tuple[Any, ...]) -> bool:
    return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def main() -> None:
    """Do as the parent says."""
    sys.path[:] = pickle.load(sys.stdin.buffer)
    function, kind, settings, args = pickle.load(sys.stdin.buffer)
    function(kind, settings, *args)
