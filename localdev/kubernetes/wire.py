"""What clients send: JSON, or Kubernetes' protobuf, which Go's clients prefer; both as JSON values.

The messages are those that Armada's Python client brings.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from armada_client.k8s.io.api.core.v1 import generated_pb2 as core_pb2
from armada_client.k8s.io.api.networking.v1 import generated_pb2 as networking_pb2
from armada_client.k8s.io.apimachinery.pkg.apis.meta.v1 import generated_pb2 as meta_pb2
from armada_client.k8s.io.apimachinery.pkg.runtime import generated_pb2 as runtime_pb2
from google.protobuf.message import Message

from localdev.kubernetes.store import Object, Problem, timestamp

MAGIC = b"k8s\0"
MESSAGES: dict[str, Any] = {
    "Pod": core_pb2.Pod,
    "Service": core_pb2.Service,
    "Ingress": networking_pb2.Ingress,
    "DeleteOptions": meta_pb2.DeleteOptions,
}
INLINE = {"localObjectReference", "volumeSource", "handler", "probeHandler", "ingressRuleValue"}
"""Fields whose own fields stand beside them in JSON."""


def decode(body: bytes) -> Object:
    """The object of a request's body, with its kind; Problem 415 where that is not known."""
    if not body:
        return {}
    if not body.startswith(MAGIC):
        value: Object = msgspec.json.decode(body)
        return value
    unknown = runtime_pb2.Unknown.FromString(body.removeprefix(MAGIC))
    kind = unknown.typeMeta.kind
    if kind not in MESSAGES:
        raise Problem(415, "UnsupportedMediaType", f"{kind} is not known here as protobuf")
    return {**_fields(unknown.typeMeta), **_fields(MESSAGES[kind].FromString(unknown.raw))}


def _fields(message: Message) -> Object:
    values: Object = {}
    for field, value in message.ListFields():
        told = _several(field, value) if field.is_repeated else _value(value)
        if field.name in INLINE:
            values |= told
        else:
            values[field.name] = told
    return values


def _several(field: Any, values: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _value(values[key]) for key in values}
    return [_value(value) for value in values]


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not isinstance(value, Message):
        return value
    special = _SPECIAL.get(value.DESCRIPTOR.name)
    return special(value) if special else _fields(value)


def _time(value: Any) -> str | None:
    return timestamp(value.seconds) if value.seconds else None


_SPECIAL = {
    "Quantity": lambda value: value.string,
    "IntOrString": lambda value: value.strVal if value.type else value.intVal,
    "Time": _time,
    "MicroTime": _time,
}
