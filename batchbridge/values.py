"""Values as users write them, read and checked: every error names the field. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from batchbridge.errors import SpecError

_LONGEST: Final = 100 * 365.25 * 86400
_LARGEST: Final = 2**63 - 1
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B?)", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_TIMES = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNFIT = re.compile("[\0\ud800-\udfff]")  # the latter: bytes of an argument that are no UTF-8


def check(holds: bool, path: str, problem: str) -> None:
    """SpecError about the field at `path`, unless it `holds`."""
    if not holds:
        raise SpecError(f"{path} {problem}", path=path)


def check_amount(path: str, amount: float) -> None:
    """SpecError where that is more than what engines count with."""
    check(amount <= _LARGEST, path, "is more than any engine has")


def check_duration(path: str, seconds: float) -> None:
    """SpecError where that is longer than what systems can sleep."""
    check(seconds <= _LONGEST, path, "is longer than 100 years")


def check_text(path: str, value: str | Iterable[str] | Mapping[str, str]) -> None:
    """SpecError naming `path` where these are no texts that can be sent: NUL, or no UTF-8."""
    texts = (value,) if isinstance(value, str) else value
    for text in (*texts, *(value.values() if isinstance(value, Mapping) else ())):
        if unfit := _UNFIT.search(text):
            what = "a NUL byte" if unfit[0] == "\0" else "what is not UTF-8"
            raise SpecError(f"{path} holds {what}", path=path)


def suggestion(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` where a known name is near, else the empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def convert(value: Any, kind: Any, *, path: str = "", strict: bool = True) -> Any:
    """`value` as `kind` (a data class or a type); SpecError with the place if it is none.

    Without `strict`, text that writes a number or a truth value is one.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        where = f"{path}.{place.strip('`.')}".replace(".[", "[").strip(".") or "value"
        raise SpecError(f"{where}: {text}", path=where) from None


def read_size(path: str, value: Any) -> int:
    """Bytes from ``4096`` or ``"4G"``; SpecError otherwise."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    usable = match or (isinstance(value, int) and not isinstance(value, bool))
    check(bool(usable), path, f"{value!r} is no size")
    size = float(match[1]) * _SIZES[match[2].upper()] if match else value
    check_amount(path, size)
    return int(size)


def read_time(path: str, value: Any) -> float:
    """Seconds from ``90`` or ``"90s"``, ``"10m"``, ``"2h"``, ``"1d"``; SpecError otherwise."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    usable = match or (isinstance(value, int | float) and not isinstance(value, bool))
    check(bool(usable), path, f"{value!r} is no time, such as '90s', '10m' or '2h'")
    seconds = float(match[1]) * _TIMES[match[2]] if match else value
    check_duration(path, seconds)
    return float(seconds)
