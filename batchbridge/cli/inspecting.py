"""Verbs about batchbridge itself: drivers, config, doctor, schema, completion."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import click
from click.shell_completion import get_completion_class

from batchbridge import registry
from batchbridge.cli.capabilities import capability_table
from batchbridge.cli.console import columns, complain, emit, json_flag, note
from batchbridge.cli.doctor import checks
from batchbridge.cli.schema import job_schema
from batchbridge.errors import BatchBridgeError, UsageError
from batchbridge.registry import Installed
from batchbridge.settings import Config

SHELLS: Final = ("bash", "zsh", "fish")


@click.command("drivers")
@click.option("--markdown", is_flag=True, help="What each driver can do, as a table in Markdown.")
@json_flag
def drivers_command(markdown: bool, as_json: bool) -> None:
    """List the installed drivers, and whether they can be used.

    A driver that cannot be used is named with the command that mends it; it harms no other.
    """
    found = registry.describe()
    usable = [registry.load(driver.name) for driver in found if driver.problem is None]
    if markdown:
        click.echo(capability_table(usable))
    elif as_json:
        for driver in found:
            emit(_driver_json(driver))
    else:
        rows = [(d.name, d.distribution, "unusable" if d.problem else "ok") for d in found]
        columns([("DRIVER", "DISTRIBUTION", "STATE"), *rows])
        for driver in found:
            if driver.problem is not None:
                note(str(driver.problem), driver.problem.remedy)


@click.command("config")
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...")
@json_flag
@click.pass_context
def config_command(ctx: click.Context, profiles: tuple[str, ...], as_json: bool) -> None:
    """Show every setting, and where its value comes from.

    It is shown for all profiles that are defined and for each driver, or for those named. The
    strongest source wins: flag, environment, batchbridge.toml, the user's config.toml, the site's,
    the engine's own variable, default. The values of secrets are not shown.
    """
    config = Config.load()
    code, meant = 0, {*profiles, *config.in_use()}
    for name in profiles or config.profiles():
        try:
            _show_profile(config, name, as_json=as_json)
        except BatchBridgeError as error:
            if name in meant:
                complain(error, name)
                code = error.exit_code
            else:
                note(f"not used by any profile: {error}", error.remedy)
    ctx.exit(code)


@click.command("doctor")
@click.argument("profiles", nargs=-1, metavar="[PROFILE]...")
@json_flag
@click.pass_context
def doctor_command(ctx: click.Context, profiles: tuple[str, ...], as_json: bool) -> None:
    """Look whether every engine can be used from here.

    It looks at the profiles that are named, else at all that are defined and at the default one; at
    every driver; at the journal. The exit code is 125 if anything is wrong.
    """
    wrong = 0
    for place, check in checks(profiles):
        wrong += not check.ok
        if as_json:
            emit({"place": place, **asdict(check)})
            continue
        mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark} {place}: {check.name}: {check.detail}".rstrip(": "))
        if check.remedy:
            click.echo(f"       → {check.remedy}")
    ctx.exit(BatchBridgeError.exit_code if wrong else 0)


@click.command("schema")
def schema_command() -> None:
    """Print the JSON schema of a job, as in files and in Python."""
    click.echo(json.dumps(job_schema(), indent=2))


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes this command in a shell.

    \b
      bash: eval "$(batchbridge completion bash)"                  in ~/.bashrc
      zsh:  eval "$(batchbridge completion zsh)"                   in ~/.zshrc
      fish: batchbridge completion fish > ~/.config/fish/completions/batchbridge.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"click completes nothing in {shell}")
    group = ctx.find_root().command
    click.echo(kind(group, {}, "batchbridge", "_BATCHBRIDGE_COMPLETE").source())


def _show_profile(config: Config, name: str, *, as_json: bool) -> None:
    resolved = config.resolve(name)
    if as_json:
        for setting, value, origin in resolved.shown():
            line = {"profile": name, "backend": resolved.backend, "name": setting}
            emit({**line, "value": value, "origin": str(origin)})
        return
    default = " (default)" if name == config.default_profile else ""
    click.echo(f"{name}: {resolved.backend}{default}")
    rows = [(f"  {setting}", value, str(origin)) for setting, value, origin in resolved.shown()]
    columns(rows)


def _driver_json(driver: Installed) -> dict[str, object]:
    usable = driver.problem is None
    return {
        "name": driver.name,
        "distribution": driver.distribution,
        "usable": usable,
        "problem": str(driver.problem) if driver.problem else None,
        "remedy": driver.problem.remedy if driver.problem else None,
        "capabilities": asdict(registry.load(driver.name).capabilities) if usable else None,
    }
