"""A directory that measured processes have for themselves: home, spool, journal, caches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import output

OTHERS = ("BATCHBRIDGE_", "METAFLOW_", "PYTHON", "XDG_")
"""How the variables begin that would let this user's settings in."""

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True, slots=True)
class Place:
    """The directory, and the environment of the processes in it."""

    root: Path
    env: dict[str, str]

    @property
    def spool(self) -> Path:
        """That of the local driver."""
        return self.root / "spool"

    def output(self, *command: str | Path, text: str = "") -> str:
        """What the command writes to stdout; it runs in this place, and reads `text`."""
        return output([str(word) for word in command], cwd=self.root, env=self.env, input=text)


@contextmanager
def place() -> Iterator[Place]:
    """A new one, gone afterwards; that ends its supervisor too."""
    with tempfile.TemporaryDirectory(prefix="batchbridge-bench-", ignore_cleanup_errors=True) as at:
        kept = {name: v for name, v in os.environ.items() if not name.startswith(OTHERS)}
        here = Place(Path(at), kept)
        here.env.update(
            HOME=at,
            TZ="UTC",
            BATCHBRIDGE_LOCAL_ROOT=str(here.spool),
            METAFLOW_BATCHBRIDGE_CACHE=f"{at}/cache",
            METAFLOW_DATASTORE_SYSROOT_LOCAL=at,
            METAFLOW_USER="bench",
        )
        yield here
