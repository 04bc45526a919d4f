"""JSON values as Kubernetes and Armada write them -> protobuf messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from batchbridge.errors import SpecError
from batchbridge_armada.jobspec import Own
from batchbridge_armada.protocol import submit_pb2

Item = submit_pb2.JobSubmitRequestItem

POD_LIMIT = 65_535
"""Bytes of a pod spec that Armada takes."""

INLINED = ("volumeSource", "handler", "localObjectReference", "ephemeralContainerCommon")
"""Fields of messages whose own fields stand beside the others in JSON."""

_IN = re.compile(r"Failed to parse (.+?) field: ")
_AT = re.compile(r" at \"?JobSubmitRequestItem\S*$")
_UNKNOWN_NAME = re.compile(r'Message type "[^"]+" has no field named "(.+)"')


def item(values: Mapping[str, Any], *, template: bool = False) -> Item:
    """The message of a submission's JSON values. SpecError where Kubernetes knows no such field.

    `template`: its pod is laid over the user's own, which is then what may be wrong.
    """
    try:
        return _message(_shaped(values, Item.DESCRIPTOR))
    except (ParseError, TypeError, ValueError) as error:
        raise _refused(str(error), template=template) from error


def joined(shared: Item, own: Own) -> Item:
    """The message of a job: what it shares with others, and its own. SpecError if it is too large.

    It is the message of :func:`batchbridge_armada.jobspec.item`, and takes a tenth of the time.
    """
    message = Item()
    message.CopyFrom(shared)
    message.client_id = own.client_id
    message.annotations.update(own.annotations)
    main = message.pod_specs[0].containers[0]
    main.command.extend(own.command)
    for name, value in own.env.items():
        main.env.add(name=name, value=value)
    return _bounded(message)


def check(values: Mapping[str, Any], *, template: bool) -> None:
    """SpecError where a submit of these JSON values would be refused here."""
    _bounded(item(values, template=template))


def _bounded(message: Item) -> Item:
    size = message.pod_specs[0].ByteSize()
    if size > POD_LIMIT:
        raise SpecError(
            f"the pod spec has {size} bytes, and Armada takes {POD_LIMIT}",
            path="command",
            remedy="put large values into files and upload them through a store",
        )
    return message


def _message(shaped: Mapping[str, Any]) -> Item:
    # ParseDict takes ten times as long, but knows all that JSON may write, and where it is wrong.
    try:
        return Item(**shaped)
    except (TypeError, ValueError):
        pass
    return ParseDict(dict(shaped), Item())


def _refused(said: str, *, template: bool) -> SpecError:
    """The parser names the fields that it was in, what is wrong, and then all that would not be."""
    line = said.partition("\n")[0].rstrip(".")
    place = _place([name for name in _IN.findall(line) if name not in INLINED], template=template)
    words = _UNKNOWN_NAME.sub(r"there is no '\1'", _AT.sub("", _IN.sub("", line)))
    return SpecError(f"{place}: {words}", path=place)


def _place(fields: Sequence[str], *, template: bool) -> str:
    """The option of which these fields were made."""
    head, *rest = fields or ("",)
    if head == "pod_specs":
        head = "pod" if template else ""
    return ".".join(filter(None, ("options", head, *rest)))


def _shaped(values: Mapping[str, Any], kind: Descriptor) -> dict[str, Any]:
    """The same values in the shape of the message."""
    known = _fields(kind)
    shaped: dict[str, Any] = {}
    for name, value in values.items():
        field = known.get(name, _UNKNOWN)
        shape = value if field.read is None else field.read(value)
        if field.home:
            shaped.setdefault(field.home, {})[name] = shape
        else:
            shaped[name] = shape
    return shaped


class _Field(NamedTuple):
    """How a field is written: under which inlined one, and what its JSON value becomes."""

    home: str
    read: Callable[[Any], Any] | None


_UNKNOWN = _Field("", None)


@cache  # thousands of jobs have the same fields
def _fields(kind: Descriptor) -> dict[str, _Field]:
    """The fields of a message by their names in JSON."""
    inlined = [field for field in kind.fields if field.name in INLINED and field.message_type]
    lent = {
        inner.name: _Field(field.name, _reader(inner))
        for field in inlined
        for inner in _inner(field).fields
    }
    return lent | {field.name: _Field("", _reader(field)) for field in kind.fields}


def _inner(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None
    return field.message_type


def _reader(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """What makes the shape of a field's JSON value; None where that is its shape."""
    kind = field.message_type
    if kind is None:
        return None
    if kind.GetOptions().map_entry:
        one = _reader(kind.fields_by_name["value"])
        return None if one is None else lambda value: _each_value(one, value)
    return lambda value: _value(value, kind)


def _each_value(read: Callable[[Any], Any], value: Any) -> Any:
    return {k: read(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _value(value: Any, kind: Descriptor) -> Any:
    if isinstance(value, list | tuple):
        return [_value(one, kind) for one in value]
    if isinstance(value, Mapping):
        return _shaped(value, kind)
    if kind.name == "Quantity":
        return {"string": str(value)}
    if kind.name == "IntOrString":
        text = isinstance(value, str)
        return {"type": int(text), "strVal" if text else "intVal": value}
    return value
