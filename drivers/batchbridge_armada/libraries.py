"""The libraries that calls to Armada go through, by their metadata: none of them is imported."""

from __future__ import annotations

from importlib import metadata

NAMES = ("armada-client", "grpcio", "protobuf")


def versions() -> str:
    """Each with its version, for people."""
    return ", ".join(f"{name} {_version(name)}" for name in NAMES)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
