"""The commands that the kit runs: POSIX sh and nothing else. Override them for an odd engine."""

from __future__ import annotations

from typing import TypeAlias

Command: TypeAlias = tuple[str, ...]


def sh(script: str) -> Command:
    """The command that runs `script`."""
    return ("sh", "-c", script)


class Probes:
    """What each probe must do is what its docstring says; how is the engine's business."""

    def exits(self, code: int) -> Command:
        """End with that exit code, and print nothing."""
        return sh(f"exit {code}")

    def dies(self, signal: int) -> Command:
        """End by that signal."""
        return sh(f"kill -{signal} $$")

    def sleeps(self, seconds: float) -> Command:
        """Print nothing for that time, then end with 0."""
        return sh(f"exec sleep {seconds}")

    def counts(self, lines: int) -> Command:
        """Print ``line 0`` and so on, that many lines."""
        return sh(f'i=0; while [ $i -lt {lines} ]; do echo "line $i"; i=$((i+1)); done')

    def ticks(self) -> Command:
        """Print a line at least five times a second, for ten minutes."""
        return sh("i=0; while [ $i -lt 3000 ]; do echo tick; sleep 0.2; i=$((i+1)); done")

    def ignores(self) -> Command:
        """The same, whatever signal asks it to end."""
        return sh(f"trap '' HUP INT TERM; {self.ticks()[-1]}")

    def says(self, stdout: bytes, stderr: bytes = b"", *, after: float = 0.0) -> Command:
        """Write exactly these bytes, after that many seconds."""
        wait = f"sleep {after}; " if after else ""
        return sh(f"{wait}{_printf(stdout)}; {_printf(stderr)} >&2")

    def speaks(self, first: bytes, second: bytes, *, pause: float) -> Command:
        """Write the first bytes, and the second ones that many seconds later."""
        return sh(f"{_printf(first)}; sleep {pause}; {_printf(second)}")

    def shows(self, variable: str) -> Command:
        """Print the value of that variable, or ``unset``."""
        return sh(f'printf %s "${{{variable}-unset}}"')

    def where(self) -> Command:
        """Print the working directory."""
        return sh("pwd -P")

    def runs(self, script: str) -> Command:
        """Run a script of that name that lies in the working directory."""
        return ("sh", script)

    def missing(self) -> Command:
        """A program that exists nowhere."""
        return ("/no/such/program-of-batchbridge",)


def _printf(data: bytes) -> str:
    return "printf '" + "".join(f"\\{byte:03o}" for byte in data) + "'"
