"""What the data classes of a driver say of themselves, and text read as the types they name.

The one home of what becomes a profile key, a flag, a variable, ``-o key=value``, an attribute of
the Metaflow decorator and a line of the reference. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from batchbridge.errors import SpecError
from batchbridge.values import check_text, convert, read_size, read_time, suggestion

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldHelp:
    """One field of a driver's ``Settings`` or ``Options``."""

    name: str
    kind: Any  #: its type, resolved
    type: str  #: its type in words: "text", "size", "docker | exec"
    help: str
    default: Any  #: None where :attr:`required`
    required: bool
    choices: tuple[str, ...]  #: the valid values, where they can be named
    secret: bool
    address: bool
    inert: bool
    env: str | None  #: the engine's own variable


def describe(cls: type[Any]) -> tuple[FieldHelp, ...]:
    """The fields of a data class, in order."""
    return _described(cls)  # type: ignore[arg-type]  # mypy: a class is not hashable


@cache  # each job's options are read by it
def _described(cls: type[Any]) -> tuple[FieldHelp, ...]:
    kinds = get_type_hints(cls, include_extras=True)
    return tuple(_describe(f, kinds[f.name]) for f in fields(cls) if f.init)


def find(
    known: Iterable[FieldHelp], name: str, *, path: str, beside: Iterable[str] = ()
) -> FieldHelp:
    """The field of that name; SpecError with a suggestion and all names if there is none.

    `beside`: names that are no fields, and may stand in the same place.
    """
    by_name = {field.name: field for field in known}
    if name not in by_name:
        names = [*by_name, *beside]
        raise SpecError(
            f"{path}: there is no {name!r}{suggestion(name, names)}",
            path=path,
            remedy=f"it has {', '.join(names)}" if names else "it has no options",
        )
    return by_name[name]


def read(field: FieldHelp, value: Any, *, path: str = "") -> Any:
    """`value` as the field's type; text, wherever it comes from, is read as that type.

    A list may be written ``a,b``; what else is nested is written as JSON. SpecError naming `path`
    (the field's name, if empty), never a secret's value.
    """
    path = path or field.name
    if isinstance(value, str):
        check_text(path, value)
    marked = _MARKS.get(_mark(field.kind))
    if marked:
        return value if value is None else marked(path, value)
    _check_choice(value, field.choices, path)
    text = isinstance(value, str) and not _takes_text(field.kind)
    plain = _untangle(value, field.kind, path) if text else value
    _check_names(plain, field.kind, path)
    return convert(plain, field.kind, path=path, strict=not text)


def read_all(cls: type[Any], given: Mapping[str, Any], *, path: str) -> dict[str, Any]:
    """The values of `given` as the types of `cls`, by name; unknown names are a SpecError."""
    known = describe(cls)
    return {
        name: read(find(known, name, path=f"{path}.{name}"), value, path=f"{path}.{name}")
        for name, value in given.items()
    }


def options_from(cls: type[T], given: Mapping[str, Any]) -> T:
    """A driver's ``Options`` from the options of a job, as text or typed; SpecError if not valid.

    Jobs that ask for the same may get the same object.

    >>> from batchbridge.driver import setting
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     priority: int = setting(50, help="higher goes first")
    >>> options_from(Options, {"priority": "70"})
    Options(priority=70)
    """
    options: T = _options(cls, given)[1]
    return options


def typed_options(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options as values of JSON, read as the types of `cls`; SpecError if not valid."""
    return dict(_options(cls, given)[0])


def _options(cls: type[Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The options as values of JSON, and as an instance; read once for jobs that share them."""
    try:
        packed = msgspec.msgpack.encode(given)
    except (TypeError, ValueError, OverflowError):  # there is what no job may hold: reading says so
        return _read_options(cls, given)
    return _kept_options(cls, packed)  # type: ignore[arg-type]  # mypy: a class is not hashable


@lru_cache(maxsize=1024)
def _kept_options(cls: type[Any], packed: bytes) -> tuple[dict[str, Any], Any]:
    return _read_options(cls, msgspec.msgpack.decode(packed))


def _read_options(cls: type[Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    values = read_all(cls, given, path="options")
    return msgspec.to_builtins(values), build(cls, values, path="options")


def build(cls: type[T], values: Mapping[str, Any], *, path: str) -> T:
    """An instance of read values; SpecError where one is missing, or the class refuses them.

    Its path is the field's where the class's words begin with a field's name.
    """
    lacking = [f.name for f in describe(cls) if f.required and f.name not in values]
    if lacking:
        raise SpecError(f"{path}.{lacking[0]} is missing", path=f"{path}.{lacking[0]}")
    try:
        return cls(**values)
    except ValueError as error:
        named = [f.name for f in describe(cls) if f.name == str(error).partition(" ")[0]]
        raise SpecError(f"{path}: {error}", path=".".join((path, *named))) from error


def _check_choice(value: Any, choices: tuple[str, ...], path: str) -> None:
    if isinstance(value, str) and choices and value not in choices:
        words = (
            f"{value!r} is none of {', '.join(filter(None, choices))}{suggestion(value, choices)}"
        )
        raise SpecError(f"{path}: {words}", path=path)


def _check_names(value: Any, kind: Any, path: str) -> None:
    """SpecError where `value` names, at any depth, what a data class or a choice has not."""
    _check_choice(value, _choices(kind), path)
    for member in _members(kind):
        if isinstance(member, type) and is_dataclass(member) and isinstance(value, Mapping):
            for name, inner in value.items():
                field = find(describe(member), str(name), path=f"{path}.{name}")
                _check_names(inner, field.kind, f"{path}.{name}")
        elif get_origin(member) in _LISTS and isinstance(value, list | tuple):
            for place, inner in enumerate(value):
                _check_names(inner, get_args(member)[0], f"{path}[{place}]")
        elif _maps(member) and isinstance(value, Mapping):
            for name, inner in value.items():
                _check_names(inner, get_args(member)[1], f"{path}.{name}")


# -- types -----------------------------------------------------------------------------------

_MARKS: Final = {"size": read_size, "duration": read_time}
_LISTS: Final = (tuple, list, frozenset, set)
_WORDS: Final = {str: "text", int: "integer", float: "number", bool: "true | false", Any: "any"}


def _describe(field: Field[Any], kind: Any) -> FieldHelp:
    made = field.default_factory is not MISSING
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    meta = field.metadata
    return FieldHelp(
        name=field.name,
        kind=kind,
        type=_words(kind),
        help=meta.get("help", ""),
        default=None if default is MISSING else default,
        required=not made and default is MISSING,
        choices=_choices(kind),
        secret=meta.get("secret", False),
        address=meta.get("address", False),
        inert=meta.get("inert", False),
        env=meta.get("env"),
    )


def _members(kind: Any) -> tuple[Any, ...]:
    """The members of a union but for None; of another type, itself."""
    union = get_origin(kind) in (Union, UnionType)
    return tuple(k for k in get_args(kind) if k is not NoneType) if union else (kind,)


@cache
def _mark(kind: Any) -> str:
    """``"size"`` or ``"duration"`` of an annotated type, else empty."""
    marks = [get_args(k)[1] for k in _members(kind) if get_origin(k) is Annotated]
    return marks[0] if marks and marks[0] in _MARKS else ""


def _maps(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _choices(kind: Any) -> tuple[str, ...]:
    found = [_choices_of(member) for member in _members(kind)]
    return tuple(c for some in found for c in some) if all(found) else ()


def _choices_of(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(str(choice) for choice in get_args(kind))
    enum = isinstance(kind, type) and issubclass(kind, Enum)
    return tuple(str(member.value) for member in kind) if enum else ()


def _words(kind: Any) -> str:
    members = _members(kind)
    return " | ".join(_word(member) for member in members)


def _word(kind: Any) -> str:
    if _mark(kind) or _choices_of(kind):
        return _mark(kind) or " | ".join(_choices_of(kind))
    origin = get_origin(kind)
    if origin in _LISTS:
        return f"list of {_words(get_args(kind)[0])}"
    if _maps(kind):
        return "mapping"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


@cache
def _takes_text(kind: Any) -> bool:
    return any(member in (str, Any) for member in _members(kind))


def _untangle(text: str, kind: Any, path: str) -> Any:
    """The plain value that `text` writes for a type that is not text."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise SpecError(f"{path} is not valid JSON: {error}", path=path) from None
    lists = any(get_origin(member) in _LISTS for member in _members(kind))
    return [part.strip() for part in text.split(",") if part.strip()] if lists else text
