"""What the values of attributes may be: each reader gives the value a job is told, or ValueError.

Standard library alone: Metaflow imports this everywhere, in the job too.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MEGABYTE = 2**20

MHZ_FROM = 100
"""A ``cpu`` of Nomad's from here on is MHz: no node has as many cores to give."""

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|[kKMGTP]i?)?")
_POWERS = {prefix: power for power, prefix in enumerate("KMGTP", 1)}


def text(name: str, value: Any) -> str:
    """Text; Metaflow reads what looks like a number in ``--with`` as one."""
    if isinstance(value, list | dict):
        raise ValueError(f"{name}={value!r} is no text")
    return str(value)


def number(name: str, value: Any) -> float:
    """A finite number, as such or as text."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name}={value!r} is no number")
    return found


def whole(name: str, value: Any) -> int:
    """A whole number, also as text: ``2``, ``2.0``."""
    found = number(name, value)
    if not found.is_integer():
        raise ValueError(f"{name}={value!r} is no whole number")
    return int(found)


def truth(name: str, value: Any) -> bool:
    """True or false, as such or as text."""
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    if str(value).lower() not in known:
        raise ValueError(f"{name}={value!r} is neither true nor false")
    return known[str(value).lower()]


def megabytes(name: str, value: Any) -> int:
    """Bytes, of a number of megabytes."""
    try:
        return int(number(name, value) * MEGABYTE)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}={value!r} is no number of megabytes") from None


def quantity(name: str, value: Any) -> int:
    """Bytes, of a number of megabytes or of what Kubernetes writes: ``2Gi``, ``500M``."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[2] == "m":
        raise ValueError(f"{name}={value!r} is no number of megabytes, and no size such as '2Gi'")
    unit = match[2]
    if unit is None:
        return int(float(match[1]) * MEGABYTE)
    return int(float(match[1]) * (1024 if unit.endswith("i") else 1000) ** _POWERS[unit[0].upper()])


def cores(name: str, value: Any) -> float:
    """Cores, of a number or of what Kubernetes writes: ``240m``."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in (None, "m"):
        raise ValueError(f"{name}={value!r} is no number of cores, such as 2, 0.5 or '240m'")
    return float(match[1]) / (1000 if match[2] else 1)


def structure(name: str, value: Any) -> Any:
    """A list or a table, as such or as JSON; other text is left to the driver, which reads a,b."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    if isinstance(found, list | dict):
        return found
    return text(name, value)


def table(name: str, value: Any) -> dict[str, Any]:
    """A table, as such or as JSON."""
    found = structure(name, value)
    if isinstance(found, dict):
        return found
    raise ValueError(f"{name}={value!r} is no dictionary, nor JSON of one")


def document(name: str, value: Any) -> str:
    """A file's name, or its content; JSON that Metaflow has read is written again."""
    return json.dumps(value) if isinstance(value, dict) else text(name, value)


def anything(name: str, value: Any) -> Any:
    """What the job's own reader will judge."""
    return value


def options(name: str, value: Any) -> dict[str, Any]:
    """A table of the driver's options, each in its place."""
    return {f"options.{option}": given for option, given in table(name, value).items()}


def nomad_cpu(name: str, value: Any) -> dict[str, Any]:
    """MHz, or cores where the number is small."""
    asked = number(name, value)
    return {"cpu": asked} if asked < MHZ_FROM else {"options.cpu_mhz": math.ceil(asked)}


def armada_secrets(name: str, value: Any) -> dict[str, Any]:
    """Kubernetes secrets: a list of names, or NAME -> ``SECRET/KEY``; a source stays a source."""
    found = structure(name, value)
    if not isinstance(found, dict):
        return {"options.secret_names": found}
    kept = {k: _secret_key(v) for k, v in found.items() if not (isinstance(v, str) and ":" in v)}
    sources = {k: v for k, v in found.items() if k not in kept}
    told = {"options.secret_env": kept, "secrets": sources}
    return {place: some for place, some in told.items() if some}


def _secret_key(value: Any) -> Any:
    secret, slash, key = value.partition("/") if isinstance(value, str) else ("", "", "")
    return {"secret": secret, "key": key} if slash else value


def unencrypted(name: str, value: Any) -> str:
    """How the connection is encrypted, from whether it must not be."""
    return "off" if truth(name, value) else "on"
