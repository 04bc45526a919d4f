"""The state diagram of the README, drawn from the table that the code obeys."""

from __future__ import annotations

from collections.abc import Iterator

from batchbridge.model import JobState
from batchbridge.states import ORDER, TRANSITIONS, Transition

_LIVE = [state for state in ORDER if not state.ending and state is not JobState.SUBMITTED]
_KINDS = ("forward", "next attempt", "overruled")


def diagram() -> str:
    """:data:`~batchbridge.states.TRANSITIONS` as a mermaid ``stateDiagram-v2``.

    Endings with the same arrows are one node; an arrow that every live state has leaves their box.
    """
    boxed = [t for t in _ordered() if t.before in _LIVE and t.after in _LIVE]
    outside = [t for t in _ordered() if t not in boxed]
    lines = ["[*] --> SUBMITTED", "state live {"]
    lines += [f"    {_arrow(t, t.before)}" for t in boxed]
    lines += ["}", *_names()]
    lines += dict.fromkeys(_arrow(t, "live" if _common(t) else _node(t.before)) for t in outside)
    lines += dict.fromkeys(f"{_node(state)} --> [*]" for state in ORDER if state.ending)
    return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in lines)])


def _ordered() -> list[Transition]:
    states = list(ORDER)
    return sorted(
        TRANSITIONS,
        key=lambda t: (_KINDS.index(t.kind), states.index(t.before), states.index(t.after)),
    )


def _arrow(transition: Transition, source: str) -> str:
    label = "" if transition.kind == "forward" else f" : {transition.kind}"
    return f"{source} --> {_node(transition.after)}{label}"


def _common(transition: Transition) -> bool:
    """Whether this arrow is one that every live state has."""
    return transition.before in _LIVE and all(
        transition._replace(before=state) in TRANSITIONS for state in _LIVE
    )


def _node(state: JobState) -> str:
    return "_or_".join(_alike(state))


def _names() -> Iterator[str]:
    for node in dict.fromkeys(_node(state) for state in ORDER):
        if "_or_" in node:
            yield f'state "{node.replace("_", " ")}" as {node}'


def _alike(state: JobState) -> list[JobState]:
    """The endings that arrows cannot tell from this one, and itself."""
    if not state.ending:
        return [state]
    return [other for other in ORDER if other.ending and _arrows(other) == _arrows(state)]


def _arrows(state: JobState) -> set[tuple[str, ...]]:
    """What leads to this state and away from it; all endings count as one."""
    near = [t for t in TRANSITIONS if state in (t.before, t.after)]
    return {(_kind(t.before), _kind(t.after), t.kind) for t in near}


def _kind(state: JobState) -> str:
    return "ending" if state.ending else state
