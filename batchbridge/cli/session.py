"""Commands that use an engine: which one, and the flags that its settings become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import click

from batchbridge import registry
from batchbridge.cli.flags import job_flags, setting_flag
from batchbridge.client import Client
from batchbridge.errors import BatchBridgeError, UsageError
from batchbridge.fields import describe
from batchbridge.journal import Entry, Journal
from batchbridge.registry import DriverClass
from batchbridge.settings import Config

ENGINE: Final = ("--backend", "--profile")
"""Two spellings of one flag: a bare backend is a profile without settings."""

_PREFIX: Final = "setting_"
_DRIVER: Final = "batchbridge.cli.driver"


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with: the engine that it was given, or the default one."""

    client: Client
    journal: Journal
    named: bool  #: an engine was named, so that others are not meant

    def covers(self, entry: Entry) -> bool:
        """Whether that submission is meant: any, unless an engine was named."""
        return not self.named or entry.engine == self.client.engine.address


class EngineCommand(click.Command):
    """A command whose flags grow by the settings of the engine that its arguments choose.

    Its function gets a ``session``. Unless it `submits`, a default engine that cannot be used is no
    error yet: references may name others.
    """

    submits: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_engine_flag())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_DRIVER] = self._driver(ctx, args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        driver = driver_of(ctx)
        return own if driver is None else [*own[:-1], *_settings_flags(driver, own), own[-1]]

    def section_of(self, ctx: click.Context, param: click.Parameter) -> str:
        """The section of the help that a flag belongs into."""
        driver = driver_of(ctx)
        if driver and (param.name or "").startswith(_PREFIX):
            return f"Settings of {driver.name}"
        return "Options"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            line = param.get_help_record(ctx)
            if line and isinstance(param, click.Option):
                sections.setdefault(self.section_of(ctx, param), []).append(line)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> Any:
        given = [name for name in ctx.params if name.startswith(_PREFIX)]
        values = {name.removeprefix(_PREFIX): ctx.params.pop(name) for name in given}
        engine = _one(ctx.params.pop("engine"))
        settings = {name: value for name, value in values.items() if value is not None}
        with Client(engine, settings=settings) as client:
            ctx.params["session"] = Session(client, Journal(), named=bool(engine or settings))
            return super().invoke(ctx)

    def _driver(self, ctx: click.Context, args: Sequence[str]) -> DriverClass | None:
        """The driver of the chosen engine; None where it is unusable and need not be used."""
        chosen = self._chosen(ctx, args)
        try:
            config = Config.load()
            name = chosen or config.default_profile
            return registry.load(config.backend(name))
        except BatchBridgeError:
            needed = self.submits or chosen is not None
            if needed and not ctx.resilient_parsing and not set(ctx.help_option_names) & set(args):
                raise
            return None

    def _chosen(self, ctx: click.Context, args: Sequence[str]) -> str | None:
        """The engine that `args` name: found before they can be parsed, since it adds flags."""
        known = {flag: param for param in super().get_params(ctx) for flag in param.opts}
        rest = iter(args)
        for arg in rest:
            flag, equals, value = arg.partition("=")
            if arg == "--" or (arg[:1] != "-" and not self.allow_interspersed_args):
                break
            if not equals and _takes_value(flag, known):
                value = next(rest, "")
            if flag in ENGINE:
                return value
        return None


def _takes_value(flag: str, known: Mapping[str, click.Parameter]) -> bool:
    """Whether a value follows; after a flag that is not known yet, a setting's, one does."""
    param = known.get(flag.replace("_", "-"))
    return flag.startswith("--") if param is None else not getattr(param, "is_flag", False)


def driver_of(ctx: click.Context) -> DriverClass | None:
    """The driver of the engine that the arguments choose, where it can be used."""
    driver: DriverClass | None = ctx.meta.get(_DRIVER)
    return driver


def _settings_flags(driver: DriverClass, own: Sequence[click.Parameter]) -> Iterator[click.Option]:
    """The flags of its settings; a secret has none, since arguments can be seen by all.

    One that is called as a flag of the command, or as a field of a job, has the driver's name
    before it.
    """
    taken = {flag for param in (*own, *job_flags()) for flag in param.opts}
    for field in describe(driver.Settings):
        name = field.name.replace("_", "-")
        flag = f"--{name}" if f"--{name}" not in taken else f"--{driver.name}-{name}"
        if not field.secret:
            yield setting_flag(_PREFIX + field.name, flag, field)


def _engine_flag() -> click.Option:
    return click.Option(
        [*ENGINE, "engine"],
        multiple=True,
        metavar="NAME",
        help="The engine: a profile's name, or a backend's. Else the configured default.",
        shell_complete=_complete,
    )


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in Config.load().profiles() if name.startswith(incomplete)]
    except BatchBridgeError:  # a command will say what is wrong
        return []


def _one(engines: Sequence[str]) -> str | None:
    if len(set(engines)) > 1:
        raise UsageError(f"one engine, not {' and '.join(engines)}")
    return engines[0] if engines else None
