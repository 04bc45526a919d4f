"""What the user's own list of Metaflow's plugins leaves out: often more than was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from metaflow.metaflow_config_funcs import from_conf
from metaflow.plugins import STEP_DECORATORS, get_plugin_cli_path

DECORATORS = ("retry", "catch", "timeout", "resources", "environment", "card", "secrets")
COMMANDS = ("logs", "card", "tag", "package")


def lines() -> Iterator[str]:
    """A line for each list that leaves out what flows commonly use, with the remedy."""
    on = [decorator.name for decorator in STEP_DECORATORS]
    yield from _line("ENABLED_STEP_DECORATOR", [f"@{n}" for n in DECORATORS if n not in on])
    commands = get_plugin_cli_path()
    yield from _line("ENABLED_CLI", [f"'{n}'" for n in COMMANDS if n not in commands])


def _line(variable: str, off: Collection[str]) -> Iterator[str]:
    if off and from_conf(variable) is not None:
        yield (
            f"METAFLOW_{variable} is all that Metaflow enables, so it switches off"
            f" {', '.join(off)}. Leave it out: batchbridge's names are enabled without it;"
            " or list there everything that flows use."
        )
