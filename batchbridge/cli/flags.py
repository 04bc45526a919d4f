"""The fields of a job as flags: one table, held against :class:`~batchbridge.model.JobSpec`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from batchbridge import secrets
from batchbridge.errors import SpecError
from batchbridge.fields import FieldHelp, describe
from batchbridge.model import JobSpec
from batchbridge.values import check_text


@dataclass(frozen=True, slots=True)
class Field:
    """What a field of a job is called in helps, and in the schema."""

    metavar: str  #: SIZE and TIME also mean that text such as 4G and 90s is read
    help: str
    short: str = ""  #: a flag of one letter
    in_files: str = ""  #: what the schema says, where the flag's help is about the flag alone


FIELDS: Final[Mapping[str, Field]] = {
    "command": Field(
        "TEXT",
        "Text for sh -c, in the place of COMMAND.",
        in_files="What is run: a list of words, or text for sh -c.",
    ),
    "name": Field("TEXT", "A name for people; the program's if there is none."),
    "env": Field(
        "NAME=VALUE",
        "A variable of the command; nothing else of this environment is.",
        in_files="The variables of the command; nothing else of the submitter's environment is.",
    ),
    "secrets": Field(
        "NAME[=SOURCE]",
        "A variable whose value is kept from view: env:NAME (if left out), file:PATH, command:CMD.",
        in_files="Variables whose values are kept from view: env:NAME, file:PATH or command:CMD.",
    ),
    "cpu": Field("CORES", "Cores."),
    "memory": Field("SIZE", "Memory: 512M, 4G."),
    "disk": Field("SIZE", "Disk: 512M, 4G."),
    "gpu": Field("COUNT", "GPUs."),
    "image": Field("TEXT", "The container image that the command runs in."),
    "workdir": Field("PATH", "The command's working directory, where it runs."),
    "upload": Field(
        "PATH",
        "A file or directory that travels with the job; may be repeated.",
        in_files="The files and directories that travel with the job.",
    ),
    "timeout": Field("TIME", "How long it may run: 90s, 10m, 2h."),
    "queue_timeout": Field("TIME", "How long it may wait to be started."),
    "start_timeout": Field("TIME", "How long its place may be in preparation."),
    "labels": Field(
        "NAME=VALUE",
        "A label that the engine keeps with the job.",
        in_files="The labels that the engine keeps with the job.",
    ),
    "job_set": Field(
        "TEXT", "The set it belongs to; if there is none, your name and the key, or the day."
    ),
    "options": Field(
        "NAME=VALUE",
        "An option of the engine's driver, listed below.",
        short="-o",
        in_files="The options of the engine's driver.",
    ),
    "reruns": Field("", "The engine may run the command again if it was interrupted."),
}
"""Every field, in the order of the helps."""


def job_flags() -> list[click.Option]:
    """The flag of each field; a mapping's may be written in the singular too."""
    return [_flag(described, FIELDS[described.name]) for described in describe(JobSpec)]


def form_of(params: dict[str, Any]) -> dict[str, Any]:
    """Take the fields that were given out of a command's parameters: the form of a job."""
    given = {name: params.pop(name) for name in FIELDS}
    form = {name: value for name, value in given.items() if value not in (None, ())}
    for name in ("env", "labels", "options"):
        if name in form:
            form[name] = dict(_pair(name, text) for text in form[name])
    if "secrets" in form:
        form["secrets"] = dict(secrets.from_flag(text) for text in form["secrets"])
    return form


def setting_flag(param: str, flag: str, field: FieldHelp) -> click.Option:
    """The flag of a driver's setting; the configuration reads it as text, as it does a variable."""
    return click.Option([param, flag], metavar=field.type.upper(), help=_help(field))


def options_help(options: type[Any]) -> Iterator[tuple[str, str]]:
    """The options of a driver as lines of a help."""
    for option in describe(options):
        yield f"-o {option.name}={option.type.upper()}", _help(option)


def checked_text(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The callback of a flag whose text engines and the journal keep; SpecError if it is none."""
    if value is not None:
        check_text(str(param.name), value)
    return value


def _help(field: FieldHelp) -> str:
    """Its help, and its default where it has one that says something."""
    default = field.default
    if default in (None, "", (), {}):
        return field.help
    words = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{field.help} [default: {words}{' s' if field.type == 'duration' else ''}]"


def _flag(described: FieldHelp, field: Field) -> click.Option:
    plain = "--" + described.name.replace("_", "-")
    single = [plain.removesuffix("s")] if described.type == "mapping" else []
    names = dict.fromkeys([*filter(None, [field.short]), *single, plain, described.name])
    if described.type == "true | false":
        return click.Option([f"{plain}/--no-{plain[2:]}"], default=None, help=field.help)
    return click.Option(
        [*names],
        metavar=field.metavar,
        multiple=described.type in ("mapping", "list of text") and not described.required,
        type=click.IntRange(min=0) if field.metavar == "COUNT" else None,
        help=field.help,
    )


def _pair(field: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SpecError(f"{field}: {text!r} is not NAME=VALUE", path=field)
    return name, value
