"""What the README shows is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from batchbridge import registry
from batchbridge.cli.capabilities import capability_table
from batchbridge.diagram import diagram
from batchbridge.model import JobState
from batchbridge.states import TRANSITIONS, Transition

README = Path(__file__).parent.parent / "README.md"
MARKED = re.compile(r"<!-- state diagram -->\n```mermaid\n(.*?)\n```", re.DOTALL)
TABLE = re.compile(r"<!-- capabilities -->\n(.*?)\n\n", re.DOTALL)
OWN = [name for name in ("local", "nomad", "armada") if name in registry.names()]
BOXED = {"live": ["QUEUED", "LEASED", "PENDING", "RUNNING"]}


def test_state_diagram() -> None:
    """The block in the README is the generated one: paste what `diagram()` returns."""
    shown = MARKED.search(README.read_text())
    assert shown is not None
    assert shown[1] == diagram()


def test_the_diagram_says_the_whole_table_and_no_more() -> None:
    arrows = re.findall(r"^ +(\w+) --> (\w+)(?: : (.+))?$", diagram(), re.MULTILINE)
    drawn = {
        Transition(JobState(before), JobState(after), kind or "forward")
        for sources, targets, kind in arrows
        for before in _states(sources)
        for after in _states(targets)
        if before != after or kind == "next attempt"
    }
    assert drawn == TRANSITIONS


def _states(node: str) -> list[str]:
    return BOXED.get(node) or node.split("_or_")


def test_the_capability_table_is_what_our_drivers_declare() -> None:
    """The block in the README is what ``drivers --markdown`` prints of the drivers that we ship."""
    shown = TABLE.search(README.read_text())
    assert shown is not None
    assert shown[1] == capability_table([registry.load(name) for name in OWN])
