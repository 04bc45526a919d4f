"""How values that must not be seen reach a command: by templates that its node fills in. Pure.

Neither the job nor an event of the stream holds such a value, but a file of the task's that is in
no directory which commands of Nomad's show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchbridge_nomad.template import Block


def variable_path(job_id: str) -> str:
    """Where a job's own secrets are: of all jobs, Nomad lets that one alone read there."""
    return f"nomad/jobs/{job_id}"


def own(job_id: str, names: Iterable[str]) -> Block:
    """The block that puts a job's own secrets into its environment."""
    pairs = "".join(f"{name}={{{{ .{name} | toJSON }}}}\n" for name in names)
    text = f'{{{{ with nomadVar "{variable_path(job_id)}" }}}}{pairs}{{{{ end }}}}'
    return _environment("batchbridge", text)


def from_variables(sources: Mapping[str, str]) -> Block:
    """The block that puts values of Nomad Variables there: name -> ``PATH#KEY``."""
    return _environment("variables", "".join(map(_from_variable, sources, sources.values())))


def from_vault(sources: Mapping[str, str]) -> Block:
    """The block that puts secrets of Vault there, of either version of its key-value store."""
    return _environment("vault", "".join(map(_from_vault, sources, sources.values())))


def _from_variable(name: str, source: str) -> str:
    path, _, key = source.partition("#")
    found = f'(index . "{key}")'
    return (
        f'{{{{ with nomadVar "{path}" }}}}{_pair(name, source, found, f"{found}.Key")}{{{{ end }}}}'
    )


def _from_vault(name: str, source: str) -> str:
    path, _, key = source.partition("#")
    found = f'(index (or (index .Data "data") .Data) "{key}")'
    return f'{{{{ with secret "{path}" }}}}{_pair(name, source, found, found)}{{{{ end }}}}'


def _pair(name: str, source: str, value: str, there: str) -> str:
    """A line of the environment; a key that is not there fails the task, and is no empty value."""
    missing = f'{{{{ if not {there} }}}}{{{{ sprig_fail "nothing at {source}" }}}}{{{{ end }}}}'
    return f"{missing}{name}={{{{ {value} | toJSON }}}}\n"


def _environment(file: str, text: str) -> Block:
    return {
        "EmbeddedTmpl": text,
        "DestPath": f"secrets/{file}.env",
        "Envvars": True,
        "ChangeMode": "noop",
    }
