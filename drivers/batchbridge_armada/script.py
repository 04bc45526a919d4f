"""What a container runs: the command, or a script that puts the user's files before it. Pure."""

from __future__ import annotations

import shlex

from batchbridge.model import Submission
from batchbridge.uploads import unpack_script

WORK = '"${TMPDIR:-/tmp}/batchbridge-work"'
"""The working directory of a command that has files and names no other."""


def command(submission: Submission) -> list[str]:
    """The program and its arguments, as Kubernetes must be told them."""
    plain = submission.spec.command
    words = ["/bin/sh", "-c", _script(submission)] if submission.files else list(plain)
    return [escaped(word) for word in words]


def escaped(text: str) -> str:
    """`text` such that Kubernetes, which replaces ``$(NAME)`` and ``$$``, leaves it as it was."""
    return text.replace("$", "$$")


def _script(submission: Submission) -> str:
    spec, files = submission.spec, submission.files
    assert files is not None
    lines = [f"mkdir -p {WORK} && cd {WORK} || exit 125", unpack_script(files, WORK).rstrip()]
    if spec.workdir:
        lines.append(f"cd {shlex.quote(spec.workdir)} || exit 125")
    return "\n".join((*lines, f"exec {shlex.join(spec.command)}", ""))
