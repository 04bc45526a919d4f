"""What a job runs first: it makes the step's working directory and becomes the step.

Its text travels as an argument (``python -I -S -c``), so it needs the standard library alone, of
Python 3.8 or later, and imports little of it. The code package is unpacked once per machine and
content, into a directory of the user's; each task has its own copy of the user's files and shares
Metaflow's, which nobody writes to but the interpreter that compiles them.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KEEP = 14 * 86400
"""Seconds after its last use that an unpacked package is kept: longer than any task may run."""

BEING_MADE = 60
"""Seconds that a new directory may be without the lock that says that it is in use."""


def main(argv: list[str]) -> None:
    """``boot PLAN COMMAND...``: see `boot_plan.plan` for what the JSON object PLAN holds."""
    plan, command = json.loads(argv[0]), argv[1:]
    # What is called `python` and what was installed with it come first, as if it were activated.
    os.environ.setdefault("PATH", os.defpath)
    prepend("PATH", os.path.dirname(sys.executable))
    try:
        work = working_directory(unpacked(cache_directory(), plan["sha"], plan["stages"]))
    except (OSError, Failed) as error:
        sys.exit(f"batchbridge: the task could not be set up: {error}")
    os.chdir(work)
    if plan["link"]:
        os.symlink(plan["link"], ".metaflow")
    else:
        os.mkdir(".metaflow")  # Metaflow would make it too, and say so in the step's output
    for name, value in plan["env"].items():
        prepend(name, value.replace("{work}", work))
    os.execvp(command[0], command)


class Failed(Exception):
    """A stage of the set-up did not succeed."""


def cache_directory() -> str:
    """Where this user's unpacked packages are, on this machine."""
    named = os.environ.get("METAFLOW_BATCHBRIDGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return named or os.path.join(base, "batchbridge", "metaflow")


def unpacked(cache: str, sha: str, stages: Iterable[tuple[str, str]]) -> str:
    """The directory that holds the package `sha`, made by `stages` where it is missing."""
    final = os.path.join(cache, sha)
    if os.path.isdir(final):
        os.utime(final)
        return final
    os.makedirs(cache, mode=0o700, exist_ok=True)
    prune(cache, time.time() - KEEP)
    half = unique(os.path.join(cache, f".{sha}"))
    for what, script in stages:
        run(what, script, half)
    try:
        os.rename(half, final)
    except OSError:  # another task was first, with the same content
        remove(half)
    return final


def prune(cache: str, before: float) -> None:
    """Remove what was last used before that time."""
    for entry in os.scandir(cache):
        if entry.stat(follow_symlinks=False).st_mtime < before:
            remove(entry.path)


def working_directory(code: str) -> str:
    """A new private directory with the package in it; `BATCHBRIDGE_SCRATCH` names it to the step.

    The directories whose names start with ``.mf_`` are Metaflow's and shared; the rest is copied,
    because the step may write to it.
    """
    import shutil

    work, lock = claimed(os.environ.get("TMPDIR") or "/tmp", "batchbridge-task")
    os.set_inheritable(lock, True)
    for entry in os.scandir(code):
        target = os.path.join(work, entry.name)
        if entry.name.startswith(".mf_"):
            os.symlink(entry.path, target)
        elif entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, target, symlinks=True)
        else:
            shutil.copy2(entry.path, target, follow_symlinks=False)
    os.environ["BATCHBRIDGE_SCRATCH"] = work
    return work


def claimed(parent: str, stem: str) -> tuple[str, int]:
    """A new private directory, and the lock on it, which says that it is in use.

    Those whose lock nobody holds are removed. The kernel lets go of a lock with the last process
    that has it; it is seen from every container.
    """
    for entry in os.scandir(parent):
        if entry.name.startswith(stem + "-") and entry.is_dir(follow_symlinks=False):
            remove_dead(entry)
    path = unique(os.path.join(parent, stem))
    lock = os.open(path, os.O_RDONLY)
    locked(lock)  # where locks cannot be had, nobody will remove anything either
    return path, lock


def remove_dead(entry: os.DirEntry[str]) -> None:
    """Remove a directory of this user's that nobody holds, unless it is being made just now."""
    try:
        found = entry.stat(follow_symlinks=False)
        if found.st_uid != os.getuid() or found.st_mtime > time.time() - BEING_MADE:
            return
        lock = os.open(entry.path, os.O_RDONLY)
    except OSError:
        return
    if locked(lock):
        remove(entry.path)
    os.close(lock)


def locked(directory: int) -> bool:
    """Whether nobody else held the lock on it: now this process does."""
    import fcntl

    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def prepend(name: str, value: str) -> None:
    """Put it before what the variable holds, if that is a list of paths; else in its place."""
    others = os.environ.get(name) if name.endswith("PATH") else None
    os.environ[name] = os.pathsep.join(filter(None, (value, others)))


def unique(stem: str) -> str:
    """A new private directory whose name starts with `stem`."""
    path = f"{stem}-{os.getpid()}-{time.time_ns()}"
    os.mkdir(path, 0o700)
    return path


def run(what: str, script: str, directory: str) -> None:
    """Run a shell script there, quietly; Failed with what it said."""
    import subprocess

    done = subprocess.run(
        ["sh", "-ec", script], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise Failed(f"{what} failed with exit code {done.returncode}\n{said}")


def remove(path: str) -> None:
    """Remove a tree, or what can be removed of it."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
