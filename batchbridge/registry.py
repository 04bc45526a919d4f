"""The drivers that are installed: found without importing any, loaded one at a time by name.

A driver is an entry point of the group ``batchbridge.drivers``. One that cannot be used is named
with its distribution and the command that mends it, and harms no other. Two distributions that
claim one name are refused, built-in or not: had either won, a job could run where nobody meant it
to, and a warning would be read after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from inspect import isabstract, isclass
from typing import TYPE_CHECKING, Any, TypeAlias

from batchbridge.driver import CONTRACT, BatchDriver
from batchbridge.errors import DriverBroken, DriverNotFound
from batchbridge.values import suggestion

if TYPE_CHECKING:  # imported where they are used, for a fast start of the command line
    from importlib.metadata import Distribution, EntryPoint

GROUP = "batchbridge.drivers"

DriverClass: TypeAlias = type[BatchDriver[Any]]

_in_process: dict[str, DriverClass] = {}


@dataclass(frozen=True, slots=True)
class Installed:
    """One line of ``batchbridge drivers``; :attr:`problem` says why it cannot be used."""

    name: str
    distribution: str  #: its name and version; of each, where several claim the name
    problem: DriverBroken | None


def names() -> dict[str, str]:
    """Each driver's name with its distribution and version. Imports none of them."""
    found = {name: _distributions(points) for name, points in _installed().items()}
    return dict(sorted((found | dict.fromkeys(_in_process, "this process")).items()))


def load(name: str) -> DriverClass:
    """The driver of that name, and no other, imported and held to the contract.

    Raises DriverNotFound, or DriverBroken with the distribution and the command that mends it.
    """
    if name in _in_process:
        return _in_process[name]
    points = _installed().get(name)
    if not points:
        raise _not_found(name)
    if len(points) > 1:
        raise _claimed_twice(name, points)
    loaded = _import(points[0])
    _check(points[0], loaded)
    driver: DriverClass = loaded
    return driver


def describe() -> list[Installed]:
    """Every driver, after trying to load it; a broken one is a line, not an error."""
    return [Installed(name, origin, _problem(name)) for name, origin in names().items()]


@contextmanager
def registered(driver: DriverClass) -> Iterator[None]:
    """Within the block, the class stands before any installed driver of its name. For tests."""
    before = _in_process.get(driver.name)
    _in_process[driver.name] = driver
    try:
        yield
    finally:
        del _in_process[driver.name]
        if before is not None:
            _in_process[driver.name] = before


# -- finding ---------------------------------------------------------------------------------


def _installed() -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _import(point: EntryPoint) -> Any:
    """What the entry point names, through stevedore.

    stevedore's own list comes from a cache on disk that is keyed by modification times in 32-bit
    floats: for two minutes after an install it can be the old one, and it knows no distributions.
    The list is therefore ours, and stevedore loads the one driver chosen from it.
    """
    from stevedore.driver import DriverManager

    class Chosen(DriverManager[Any]):
        def list_entry_points(self) -> list[EntryPoint]:
            return [point]

    try:
        return Chosen(GROUP, point.name).driver
    except (Exception, SystemExit) as error:
        raise _cannot_import(point, error) from error


def _problem(name: str) -> DriverBroken | None:
    try:
        load(name)
    except DriverBroken as error:
        return error
    return None


# -- what is held against a driver -----------------------------------------------------------


def _check(point: EntryPoint, loaded: Any) -> None:
    spoken = getattr(loaded, "contract", None)
    if isinstance(spoken, int) and spoken != CONTRACT:
        raise _other_contract(point, spoken)
    problem = _defect(point.name, loaded)
    if problem:
        raise _broken(point, problem, _upgrade(point))


def _defect(name: str, loaded: Any) -> str:
    if not (isclass(loaded) and issubclass(loaded, BatchDriver)):
        return "is no BatchDriver"
    if not isinstance(getattr(loaded, "contract", None), int):
        return "does not say which contract it was built for"
    if getattr(loaded, "name", None) != name:
        return f"calls itself {getattr(loaded, 'name', None)!r}"
    if isabstract(loaded):
        return f"lacks {', '.join(sorted(loaded.__abstractmethods__))}"
    parts = ("Settings", "Options")
    untyped = [part for part in parts if not is_dataclass(getattr(loaded, part, None))]
    return f"has no dataclass {' and no '.join(untyped)}" if untyped else ""


# -- errors, each with the command that mends it ---------------------------------------------


def _not_found(name: str) -> DriverNotFound:
    known = names()
    return DriverNotFound(
        f"no driver is named {name!r}{suggestion(name, known)}; "
        f"installed: {', '.join(known) or 'none'}",
        remedy="install the distribution that provides it; batchbridge drivers lists what is there",
    )


def _claimed_twice(name: str, points: list[EntryPoint]) -> DriverBroken:
    return DriverBroken(
        f"the driver name {name!r} is claimed by {_distributions(points)}; neither is used",
        remedy="keep one: " + " or ".join(f"pip uninstall {_project(p)}" for p in points),
    )


def _cannot_import(point: EntryPoint, error: BaseException) -> DriverBroken:
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    own = isinstance(error, ImportError) and _root(error.name or "") == _root(point.module)
    lacks_library = isinstance(error, ImportError) and not own
    remedy = _install(point) if lacks_library else _reinstall(point)
    return _broken(point, f"cannot be imported: {words}", remedy)


def _other_contract(point: EntryPoint, spoken: int) -> DriverBroken:
    older = spoken < CONTRACT
    return _broken(
        point,
        f"was built for version {spoken} of the driver contract, "
        f"this batchbridge speaks version {CONTRACT}",
        _upgrade(point) if older else "pip install --upgrade batchbridge",
    )


def _broken(point: EntryPoint, problem: str, remedy: str) -> DriverBroken:
    origin = f"{_distributions([point])}, {point.value}"
    return DriverBroken(f"the driver {point.name!r} ({origin}) {problem}", remedy=remedy)


def _install(point: EntryPoint) -> str:
    """With what it needs: by the extra that bears the driver's name, where there is one."""
    if point.name in _metadata(point, "Provides-Extra"):
        return f"pip install '{_project(point)}[{point.name}]'"
    return _reinstall(point)


def _reinstall(point: EntryPoint) -> str:
    return f"pip install --force-reinstall {_project(point)}"


def _upgrade(point: EntryPoint) -> str:
    return f"pip install --upgrade {_project(point)}"


def _root(module: str) -> str:
    return module.partition(".")[0]


def _distributions(points: list[EntryPoint]) -> str:
    return " and ".join(f"{_project(p)} {_version(p.dist)}" for p in points)


def _project(point: EntryPoint) -> str:
    return next(iter(_metadata(point, "Name")), "an unnamed distribution")


def _version(dist: Distribution | None) -> str:
    return (dist.version if dist else None) or "of unknown version"


def _metadata(point: EntryPoint, field: str) -> list[str]:
    return (point.dist.metadata.get_all(field) if point.dist else None) or []
