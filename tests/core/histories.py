"""Histories for the property tests: whatever a driver may tell of one job, in whatever order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hypothesis import strategies as st

from batchbridge.model import Absent, Cause, Intent, JobState, Observation, Seen, Tick
from batchbridge.states import Change, Record, fold

S = JobState
LIVE = [state for state in S if not state.ending]
ENDINGS = [S.SUCCEEDED, S.FAILED, S.CANCELLED]
TIMES = st.integers(0, 300).map(float)
CODES = st.integers(0, 255)
SIGNALS = st.integers(1, 31)


class Step(NamedTuple):
    before: Record
    observation: Observation
    after: Record
    changes: tuple[Change, ...]


def steps(history: Iterable[Observation]) -> Iterator[Step]:
    record = Record("job")
    for observation in history:
        after, changes = fold(record, observation)
        yield Step(record, observation, after, changes)
        record = after


def told(history: Iterable[Observation], start: Record | None = None) -> Record:
    """The record that a history leads to."""
    record = start or Record("job")
    for observation in history:
        record, _ = fold(record, observation)
    return record


@st.composite
def seens(draw: st.DrawFn, *, numbered: bool, ordered: bool) -> Seen:
    """Anything that a driver of that kind may say and :class:`Seen` accepts."""
    state = draw(st.sampled_from([*LIVE, *ENDINGS]))
    seq = (draw(st.integers(0, 12)), draw(st.integers(0, 1))) if ordered else None
    final = state.ending and draw(st.booleans())
    again = state.ending and not final and seq is not None and draw(st.booleans())
    attempt = draw(st.integers(1, 4)) if numbered else None
    if final and draw(st.booleans()):
        attempt = None
    facts = draw(endings(state)) if state.ending else {}
    at, text = draw(st.none() | TIMES), draw(st.sampled_from(["", "a", "b"]))
    seen: dict[str, object] = {"attempt": attempt, "seq": seq, "again": again, "final": final}
    return Seen("job", state, at=at, message=text, node=text, **seen, **facts)


def endings(state: JobState) -> st.SearchStrategy[dict[str, object]]:
    if state is S.SUCCEEDED:
        return st.fixed_dictionaries({"exit_code": st.sampled_from([None, 0])})
    unfit = {Cause.CANCELLED} if state is S.FAILED else set()
    causes = st.none() | st.sampled_from([cause for cause in Cause if cause not in unfit])
    return st.one_of(
        st.fixed_dictionaries({"cause": causes}),
        st.fixed_dictionaries({"cause": causes, "exit_code": CODES}),
        st.fixed_dictionaries({"cause": causes, "signal": SIGNALS}),
    )


ABSENTS = st.builds(Absent, st.just("job"), TIMES)
TICKS = st.builds(Tick, TIMES)
INTENTS = st.one_of(
    st.builds(Intent, st.sampled_from([Cause.CANCELLED, Cause.TIMEOUT]), TIMES),
    st.builds(Intent, st.just(Cause.EXIT_CODE), TIMES, exit_code=st.integers(1, 255)),
    st.builds(Intent, st.just(Cause.SIGNAL), TIMES, signal=SIGNALS),
)


@st.composite
def histories(draw: st.DrawFn, *, numbered: bool, ordered: bool) -> list[Observation]:
    """Mostly what a driver of that kind says; `one_of` would give each kind the same weight."""
    kinds = {
        "said": seens(numbered=numbered, ordered=ordered),
        "absent": ABSENTS,
        "intent": INTENTS,
        "tick": TICKS,
    }
    order = st.sampled_from(["said"] * 7 + ["absent", "absent", "intent", "tick", "tick"])
    return [draw(kinds[kind]) for kind in draw(st.lists(order, max_size=14))]


ANY = st.one_of(*(histories(numbered=n, ordered=o) for n in (True, False) for o in (True, False)))


# -- true histories, and what becomes of them on the way -----------------------------------------


@st.composite
def truths(draw: st.DrawFn, *, numbered: bool) -> list[Seen]:
    """What an engine that orders its words says of one job: some attempts, the last one final."""
    attempts = draw(st.integers(1, 4))
    said: list[tuple[JobState, dict[str, object]]] = [(S.SUBMITTED, {})]
    for attempt in range(1, attempts + 1):
        number = attempt if numbered else None
        states = draw(st.sets(st.sampled_from([S.LEASED, S.PENDING, S.RUNNING])))
        lived = [S.QUEUED, *sorted(states, key=LIVE.index)]
        said += [(state, {"attempt": number}) for state in lived]
        end = draw(st.sampled_from(ENDINGS))
        how = draw(endings(end)) | {"attempt": number}
        said.append((end, {**how, "final": attempt == attempts, "again": attempt < attempts}))
    return [Seen("job", s, seq=(i,), at=float(i), **how) for i, (s, how) in enumerate(said)]


@st.composite
def distorted(draw: st.DrawFn, truth: list[Seen]) -> list[Seen]:
    """The same words cut, doubled and out of order; the last of them does arrive."""
    some = draw(st.lists(st.sampled_from(truth), max_size=2 * len(truth)))
    return draw(st.permutations([*some, truth[-1]]))


# -- histories written by hand ---------------------------------------------------------------------


def seen(state: JobState, attempt: int | None = None, seq: int | None = None, **facts) -> Seen:
    return Seen("job", state, attempt, seq=None if seq is None else (seq,), **facts)


def ticks(*times: float) -> list[Tick]:
    return [Tick(now) for now in times]


def walked(history: list[Observation]) -> list[str]:
    """Each change in short: state, attempt, ``~`` if inferred, ``!`` if terminal."""
    return [
        f"{c.record.state}@{c.record.attempt}{'~' * c.inferred}{'!' * c.record.terminal}"
        for step in steps(history)
        for c in step.changes
    ]


def absents(*times: float) -> list[Absent]:
    return [Absent("job", at) for at in times]
