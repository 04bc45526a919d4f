"""Make the recordings again: ``python -m tests.drivers.nomad.record [--write] [NAME ...]``.

It starts agents of its own from `nomad` on PATH, one of them with access control, and does to them
what :mod:`.scenarios` and :mod:`.calls` say. Where status codes, keys or their order differ from
what was recorded, twice running, it shows how and fails: Nomad's parts race with each other, and a
task that ends as it is killed, say, has either exit code. With --write what is new takes the place
of the old.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from requests import RequestException

from tests.drivers.nomad import calls, likeness, scenarios
from tests.drivers.nomad.recorded import HOME
from tests.drivers.nomad.worlds import Real, real

Make = Callable[[Real], Any]
TRIES = 2


@click.command(help=__doc__)
@click.option("--nomad", default="nomad", show_default=True, help="The program.")
@click.option("--write", is_flag=True, help="Replace what was recorded.")
@click.argument("names", nargs=-1)
def main(nomad: str, write: bool, names: tuple[str, ...]) -> None:
    failed = [
        name
        for acl in (False, True)
        for name, make in _recorders(nomad, names, acl=acl)
        if not any(_kept(name, make(), write=write) for _ in range(TRIES))
    ]
    if failed:
        raise click.ClickException(f"different, or not recorded: {', '.join(failed)}")


def _recorders(
    program: str, names: Collection[str], *, acl: bool
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What makes each recording that an agent of that kind makes; None where it cannot be made."""
    here = {**_lives(acl), **_answers(acl)}
    chosen = {name: make for name, make in here.items() if not names or name in names}
    if not chosen:
        return
    with real(program, acl=acl) as world:
        for name, make in chosen.items():
            yield name, partial(_made, name, make, world)


def _made(name: str, make: Make, world: Real) -> Any:
    try:
        return make(world)
    except (AssertionError, RequestException) as error:
        click.echo(f"{name}: {error}", err=True)
        return None


def _lives(acl: bool) -> dict[str, Make]:
    def make(name: str) -> Make:
        return lambda world: scenarios.recorded(world, name)

    return {name: make(name) for name in scenarios.SCENARIOS if (name in scenarios.ACL) is acl}


def _answers(acl: bool) -> dict[str, Make]:
    def make(name: str) -> Make:
        return lambda world: calls.recorded(world, name)

    return {f"answers/{name}": make(name) for name in calls.CALLS if (name in calls.ACL) is acl}


def _kept(name: str, made: Any, *, write: bool) -> bool:
    """Write it, or compare it with what was written."""
    path = HOME / f"{name}.json"
    if made is None:
        click.echo(f"{name}: not recorded", err=True)
        return False
    if write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(nameless(json.dumps(made, indent=1, sort_keys=True)) + "\n")
    differences = _differences(path, made)
    click.echo(f"{name}: {'different' if differences else 'alike'}", err=True)
    sys.stdout.write(differences)
    return not differences


def _differences(path: Path, made: Any) -> str:
    """How it differs from what was recorded; empty where it is alike."""
    if not path.exists():
        return f"{path.name} was never recorded\n"
    of = calls.likeness if "answers" in path.parts else likeness.of_recording
    return likeness.differences(of(json.loads(path.read_text())), of(made))


def nameless(text: str) -> str:
    """Without names of this machine."""
    return re.sub(r'"/tmp/[^"]*/agent', '"/nomad', text)


if __name__ == "__main__":
    main()
