"""Prove a driver: the conformance kit, faults to wrap it in, and a driver to test against.

::

    import pytest
    from batchbridge.testing import DriverConformance

    class TestSpool(DriverConformance):
        @pytest.fixture
        def driver(self, tmp_path):
            return SpoolDriver(SpoolDriver.Settings(root=tmp_path))

Submit, exit code, terminal state, cancel and logs are the floor: a driver that fails a test of it
is reported as partial. Other tests are skipped where the capability is not declared, and fail where
a declared one does not hold. ``pytest --batchbridge-report PATH`` writes the table as Markdown.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchbridge.testing.conformance import DriverConformance
    from batchbridge.testing.faults import Fault, Faulty
    from batchbridge.testing.probes import Probes
    from batchbridge.testing.scripted import ScriptedDriver

__all__ = ["DriverConformance", "Fault", "Faulty", "Probes", "ScriptedDriver"]

_HOMES = {
    "DriverConformance": "conformance",
    "Fault": "faults",
    "Faulty": "faults",
    "Probes": "probes",
    "ScriptedDriver": "scripted",
}


def __getattr__(name: str) -> object:
    # Lazy, because pytest imports this package in every run, for the plugin.
    if name not in _HOMES:
        raise AttributeError(f"module 'batchbridge.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"batchbridge.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
