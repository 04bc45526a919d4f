"""The least that a command line of click can be: a group with two commands."""

from __future__ import annotations

import click


@click.group()
def main() -> None:
    """Do one of two things."""


@main.command()
def one() -> None:
    """Do one thing."""


@main.command()
def two() -> None:
    """Do the other."""


main()
