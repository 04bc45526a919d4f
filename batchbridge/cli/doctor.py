"""What doctor looks at: drivers, engines, the journal, and what others register to be looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from batchbridge import registry
from batchbridge.cli.selection import WINDOW
from batchbridge.errors import of_driver
from batchbridge.journal import Journal
from batchbridge.model import Check
from batchbridge.settings import Config

GROUP: Final = "batchbridge.checks"
"""Entry points of functions without arguments that return an iterable of
:class:`~batchbridge.model.Check`: for an extension that can tell of what its runs left behind."""


def checks(profiles: Sequence[str]) -> Iterator[tuple[str, Check]]:
    """Each check with the place that it is about: the named profiles, or all that are defined."""
    config = Config.load()
    places = profiles or config.in_use()
    used = {config.profiles().get(name, name) for name in places}
    for driver in registry.describe():
        yield "drivers", _driver(driver, used=driver.name in used)
    yield from (("journal", check) for check in _journal(Journal()))
    for name in places:
        for check in _probed(config, name):
            yield name, check
    for point in entry_points(group=GROUP):
        for check in _asked(point):
            yield point.name, check


def _journal(journal: Journal) -> Iterator[Check]:
    problem = journal.problem()
    yield Check("file", not problem, problem or str(journal.path))
    unknown = sum(entry.unknown for entry in journal.entries(since=time.time() - WINDOW))
    if unknown:
        detail = f"submits of the last week whose outcome is unknown: {unknown}"
        yield Check("submits", False, detail, "batchbridge list names what settles them")


def _driver(driver: registry.Installed, *, used: bool) -> Check:
    """A driver that cannot be used is wrong where a profile uses it, and else only told."""
    problem = driver.problem
    if problem is None:
        return Check(driver.name, True, driver.distribution)
    detail = str(problem) if used else f"not used by any profile; {problem}"
    return Check(driver.name, not used, detail, problem.remedy)


def _probed(config: Config, name: str) -> Iterator[Check]:
    """What the engine's driver finds; a probe that fails is a check that does."""
    try:
        resolved = config.resolve(name)
        with closing(resolved.driver_cls(resolved.settings)) as driver:
            yield Check("settings", True, f"{resolved.backend} at {resolved.ref_profile}")
            yield from driver.probe()
    except Exception as error:  # whatever a driver does wrong, the others are looked at
        problem = of_driver(config.profiles().get(name, name), error)
        yield Check("engine", False, str(problem), problem.remedy)


def _asked(point: EntryPoint) -> Iterator[Check]:
    try:
        yield from point.load()()
    except Exception as error:  # whatever an extension does wrong, the others are looked at
        yield Check(point.value, False, f"{type(error).__name__}: {error}")
