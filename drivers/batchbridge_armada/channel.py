"""Connections to Armada: encryption and keepalive."""

from __future__ import annotations

from pathlib import Path

import grpc

from batchbridge_armada.files import UNREADABLE, unreadable
from batchbridge_armada.settings import ArmadaSettings

HERE = ("localhost", "127.0.0.1", "[::1]")

PLAIN_OPTIONS = [
    ("grpc.primary_user_agent", "batchbridge"),
    # A page of jobs' details holds whole pod specs.
    ("grpc.max_receive_message_length", 64 << 20),
    # By itself gRPC would let two minutes pass between two tries; the core has pauses of its own.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]

KEEPALIVE = [
    # The server says nothing on a stream where nothing happens, and takes a ping each 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


def connect(settings: ArmadaSettings, address: str, *, keepalive: bool) -> grpc.Channel:
    """A channel, which connects at the first call. ConfigError where a file cannot be read."""
    options = [*PLAIN_OPTIONS, *(KEEPALIVE if keepalive else ())]
    if not encrypted(settings, address):
        return grpc.insecure_channel(address, options=options)
    if settings.tls_server_name:
        options.append(("grpc.ssl_target_name_override", settings.tls_server_name))
    return grpc.secure_channel(address, _credentials(settings), options=options)


def encrypted(settings: ArmadaSettings, address: str) -> bool:
    """Whether calls to that address are."""
    if settings.tls == "auto":
        return address.rpartition(":")[0] not in HERE
    return settings.tls == "on"


def _credentials(settings: ArmadaSettings) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_content("ca_cert", settings.ca_cert),
        private_key=_content("client_key", settings.client_key),
        certificate_chain=_content("client_cert", settings.client_cert),
    )


def _content(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).expanduser().read_bytes()
    except UNREADABLE as error:
        raise unreadable(name, path, error, "name a PEM file") from error
