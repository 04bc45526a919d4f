"""How long ``--help`` takes: the program starts, imports what it needs, and prints."""

from __future__ import annotations

from benchmarks.harness import Goal, Report, Size, in_turn, rows_of, seconds
from benchmarks.peers import ourselves, peer
from benchmarks.place import SCRIPTS, Place, place

ROUNDS = 4
"""Starts for each round of the other benchmarks: they are short, and noisy."""

BARE = "a bare click program"


def run(size: Size) -> Report:
    """``batchbridge --help`` beside a click program that does nothing, and torchx's."""
    us, torchx = ourselves(), peer("torchx")
    with place() as here:
        candidates = {
            str(us): lambda: _milliseconds(here, us.program("batchbridge")),
            BARE: lambda: _milliseconds(here, us.python, str(SCRIPTS / "bare_click.py")),
            str(torchx): lambda: _milliseconds(here, torchx.program("torchx")),
        }
        goals = {BARE: Goal("≤", 1.3)}
        rows = rows_of(in_turn(candidates, size.rounds * ROUNDS), unit="ms", goals=goals)
    return Report("--help", rows)


def _milliseconds(here: Place, *program: str) -> float:
    return 1000 * seconds(lambda: here.output(*program, "--help"))
