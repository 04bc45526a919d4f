"""The script that a job's task runs: where the command works, what it finds there, its limit.

It travels as a template with delimiters of its own, so that Nomad reads nothing in it: an argument
of a task is a template of Nomad's, and ``${x}`` in one can fail the job.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from hashlib import sha256

from batchbridge.errors import SpecError
from batchbridge.model import Submission
from batchbridge.uploads import unpack_script

PLACE = "local/run.sh"
"""Where the script lies in the task's directory."""

RELIED_ON = ("NOMAD_TASK_DIR", "NOMAD_ALLOC_DIR", "NOMAD_TASK_NAME")
"""The variables of Nomad's by which it is found, and finds its way."""

WORK = '"$NOMAD_TASK_DIR/work"'
"""The working directory of a command that neither an image nor the user gives one."""


PIPE = '"$NOMAD_ALLOC_DIR/logs/.$NOMAD_TASK_NAME.{}.fifo"'
"""The named pipe from which Nomad takes a task's output; a container finds it too."""

DIRECT = "if [ -p {0} ] && [ -w {0} ]; then exec >{0} 2>{1}; fi".format(
    PIPE.format("stdout"), PIPE.format("stderr")
)
"""By way of Docker the output of a command that ends soon, and the rest of a line, can be lost;
by way of podman both outputs are one, and each line of it is marked."""

KILL_AFTER = 10
"""Seconds between the SIGTERM and the SIGKILL that enforce a time limit."""


def script(submission: Submission, *, contained: bool, direct: bool = False) -> str:
    """Lines of POSIX sh that end by becoming the command.

    `contained`: the task runs in an image, which has a directory and a home of its own. `direct`:
    its output goes to Nomad itself, where it may, and not by way of what runs the container.
    """
    spec = submission.spec
    home = [] if contained or "HOME" in spec.env else [f'[ -w "$HOME" ] || export HOME={WORK}']
    exports = [f"export {name}={shlex.quote(value)}" for name, value in unsafe(spec.env).items()]
    lines = [*_directory(submission, contained), *home, *exports, _become(submission)]
    return "\n".join([DIRECT, *lines] if direct else lines) + "\n"


def _directory(submission: Submission, contained: bool) -> list[str]:
    """To a directory that can be written to, with the user's files; then to the one asked for."""
    files, workdir = submission.files, submission.spec.workdir
    lines = []
    if files or not contained:
        lines = [f"mkdir -p {WORK} && cd {WORK} || exit 125"]
    if files:
        lines.append(unpack_script(files, WORK).rstrip())
    return [*lines, f"cd {shlex.quote(workdir)} || exit 125"] if workdir else lines


def _become(submission: Submission) -> str:
    command, limit = shlex.join(submission.spec.command), submission.spec.timeout
    if limit is None:
        return f"exec {command}"
    missing = "echo 'batchbridge: a time limit needs timeout(1) here' >&2; exit 125"
    check = f"command -v timeout >/dev/null || {{ {missing}; }}"
    return f"{check}\nexec timeout -k {KILL_AFTER} {math.ceil(limit)} {command}"


def check_names(names: Iterable[str]) -> None:
    """SpecError where a variable among them is one of RELIED_ON: the script would be lost."""
    taken = sorted({*RELIED_ON}.intersection(names))
    if taken:
        raise SpecError(f"{', '.join(taken)}: Nomad sets it, and nobody else may", path="env")


def unsafe(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that Nomad would change: it replaces ``${…}`` there and knows no escape."""
    return {name: value for name, value in env.items() if "${" in value or "%{" in value}


def template(text: str) -> dict[str, object]:
    """The template block that puts `text`, as it is, where the task runs it."""
    mark = sha256(text.encode()).hexdigest()[:16]  # in no text that does not hold its own digest
    return {
        "EmbeddedTmpl": text,
        "DestPath": PLACE,
        "LeftDelim": f"[[{mark}",
        "RightDelim": f"{mark}]]",
        "Perms": "755",
        "ChangeMode": "noop",
    }
