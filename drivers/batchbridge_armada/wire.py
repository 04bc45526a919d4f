"""JSON values as Kubernetes and Armada write them -> protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from batchbridge.errors import SpecError
from batchbridge_armada.protocol import submit_pb2

POD_LIMIT = 65_535
"""Bytes of a pod spec that Armada takes."""

INLINED = ("volumeSource", "handler", "localObjectReference", "ephemeralContainerCommon")
"""Fields of messages whose own fields stand beside the others in JSON."""


def item(values: Mapping[str, Any]) -> submit_pb2.JobSubmitRequestItem:
    """The message of a submission's JSON values. SpecError where Kubernetes knows no such field."""
    message = _message(_shaped(values, submit_pb2.JobSubmitRequestItem.DESCRIPTOR))
    size = message.pod_specs[0].ByteSize()
    if size > POD_LIMIT:
        raise SpecError(
            f"the pod spec has {size} bytes, and Armada takes {POD_LIMIT}",
            path="command",
            remedy="put large values into files and upload them through a store",
        )
    return message


def _message(shaped: Mapping[str, Any]) -> submit_pb2.JobSubmitRequestItem:
    # ParseDict takes ten times as long, but knows all that JSON may write, and where it is wrong.
    try:
        return submit_pb2.JobSubmitRequestItem(**shaped)
    except (TypeError, ValueError):
        pass
    try:
        return ParseDict(dict(shaped), submit_pb2.JobSubmitRequestItem())
    except (ParseError, TypeError, ValueError) as error:
        raise SpecError(f"options.pod: {error}", path="options.pod") from error


def _shaped(values: Mapping[str, Any], kind: Descriptor) -> dict[str, Any]:
    """The same values in the shape of the message."""
    shaped: dict[str, Any] = {}
    for name, value in values.items():
        field = kind.fields_by_name.get(name)
        home = None if field else _home(name, kind)
        if home is not None and home.message_type is not None:
            inner = _shaped({name: value}, home.message_type)
            shaped.setdefault(home.name, {}).update(inner)
        else:
            shaped[name] = _value(value, field)
    return shaped


def _home(name: str, kind: Descriptor) -> FieldDescriptor | None:
    """The inlined field to which that name belongs."""
    for field in kind.fields:
        inner = field.message_type
        if field.name in INLINED and inner is not None and name in inner.fields_by_name:
            return field
    return None


def _value(value: Any, field: FieldDescriptor | None) -> Any:
    kind = field.message_type if field else None
    if kind is None:
        return value
    if kind.GetOptions().map_entry and isinstance(value, Mapping):
        each = kind.fields_by_name["value"]
        return {name: _value(one, each) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_value(one, field) for one in value]
    if isinstance(value, Mapping):
        return _shaped(value, kind)
    if kind.name == "Quantity":
        return {"string": str(value)}
    if kind.name == "IntOrString":
        text = isinstance(value, str)
        return {"type": int(text), "strVal" if text else "intVal": value}
    return value
