"""Armada's messages and stubs: the one place that imports the client library.

It is imported when the first call is made, because it takes a fifth of a second, and because what
is wrong with it must not keep the driver from being listed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from batchbridge.errors import DriverBroken
from batchbridge_armada.libraries import versions

HOME = "armada_client.google.api"
SHARED = ("http_pb2", "annotations_pb2")


def _share_google_api() -> None:
    """Let the client library use the ``google.api`` that is installed, where one is.

    It brings a copy of its own; two copies in one process cannot be loaded, whichever is first.
    Where its copy is loaded already, that one is what the process has.
    """
    if any(f"{HOME}.{name}" in sys.modules for name in SHARED) or not _installed():
        return
    for name in SHARED:
        sys.modules[f"{HOME}.{name}"] = import_module(f"google.api.{name}")


def _installed() -> bool:
    try:
        return find_spec("google.api.annotations_pb2") is not None
    except ModuleNotFoundError:
        return False


def _broken(error: Exception) -> DriverBroken:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, ModuleNotFoundError):
        return DriverBroken(
            f"Armada's client is not installed: {words}",
            remedy="pip install 'batchbridge[armada]'",
        )
    return DriverBroken(
        f"{versions()} do not fit each other: {words}",
        remedy="pip install --upgrade armada-client grpcio protobuf",
    )


_share_google_api()
try:
    from armada_client.armada import (
        binoculars_pb2,
        event_pb2,
        event_pb2_grpc,
        job_pb2,
        job_pb2_grpc,
        submit_pb2,
        submit_pb2_grpc,
    )
    from armada_client.k8s.io.api.core.v1 import generated_pb2 as core_pb2
except Exception as error:
    raise _broken(error) from error

__all__ = [
    "binoculars_pb2",
    "core_pb2",
    "event_pb2",
    "event_pb2_grpc",
    "job_pb2",
    "job_pb2_grpc",
    "submit_pb2",
    "submit_pb2_grpc",
]
