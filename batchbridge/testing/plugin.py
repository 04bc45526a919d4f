"""The pytest plugin of the conformance kit; it costs nothing where the kit is not used."""

from __future__ import annotations
