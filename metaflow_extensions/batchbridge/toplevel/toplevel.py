"""The extension's name and version, as Metaflow shows them."""

from __future__ import annotations

__mf_extensions__ = "batchbridge"
__version__ = "0.1.0"
