"""Starting the supervisor from a process that misses it.

It is started with an empty environment and without ``site``, so that nothing of the launcher is in
its memory map of variables, and so that it is there within some tens of milliseconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from batchbridge.errors import TransportError
from batchbridge_local.retention import Keep
from batchbridge_local.spool import FAILPOINT, Spool

_BOOT = "import sys; sys.path += sys.argv.pop().split(chr(10)); {main}"
_MAIN = "from batchbridge_local.daemon import main; main()"
_PATIENCE = 20.0


def ensure(spool: Spool, keep: Keep, *, look: bool = False) -> None:
    """See to it that a supervisor of this spool is awake. TransportError where none starts."""
    if not spool.wake(look=look):
        start(spool, keep)


def start(spool: Spool, keep: Keep, main: str = _MAIN) -> None:
    """Start one; return when it listens, or found that another one does."""
    with spool.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            _command(spool, keep, main),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    try:
        answer, _ = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        answer, _ = process.communicate()
    if answer != b"ready\n":
        raise TransportError(
            f"the supervisor of the spool {spool.root} did not start",
            remedy=f"see {spool.supervisor_log}",
        )


def _command(spool: Spool, keep: Keep, main: str) -> list[str]:
    boot = _BOOT.format(main=main)
    options = ["-I", "-S", "-X", "utf8", "-c", boot]
    paths = "\n".join(_paths())
    return [sys.executable, *options, str(spool.root), json.dumps(keep._asdict()), paths]


def _environment() -> dict[str, str]:
    """Nothing; but for a kill test, which names the step to die at."""
    point = os.environ.get(FAILPOINT)
    return {FAILPOINT: point} if point else {}


def _paths() -> list[str]:
    """Where the supervisor finds this package, and psutil, which systems without /proc need."""
    ours = Path(__file__).parents[1]
    psutil = find_spec("psutil")
    theirs = Path(psutil.origin).parents[1] if psutil and psutil.origin else ours
    return list(dict.fromkeys((str(ours), str(theirs))))
