"""What drivers can do, side by side: a table for the README and ``drivers --markdown``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from batchbridge.driver import Capabilities
from batchbridge.registry import DriverClass


def capability_table(drivers: Sequence[DriverClass]) -> str:
    """A Markdown table: a row for each capability, a column for each driver."""
    names = [driver.name for driver in drivers]
    rows = [["", *names], ["---"] * (len(names) + 1)]
    for capability in fields(Capabilities):
        values = (getattr(driver.capabilities, capability.name) for driver in drivers)
        cells = (_cell(capability.name, value) for value in values)
        rows.append([f"`{capability.name}`", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "" if name == "idempotency_window" else "no"
    if name == "upload":
        return _size(value)
    return f"{value:g} s" if isinstance(value, float) else str(value).replace("_", " ")


def _size(count: int) -> str:
    """Bytes in the largest unit of which there is a whole number."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << power) == 0:
            return f"{count >> power} {unit}"
    return f"{count} B"
