"""What Binoculars answers, as bytes.

Armada declares a line of output to be text and sends whatever the command wrote; protobuf refuses
to read as text what is no UTF-8. The messages are therefore declared here once more, with bytes in
the place of text, which looks the same on the wire.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from batchbridge_armada.logs import LogLine, LogReply


def _reply_class() -> Any:
    file = FileDescriptorProto(name="batchbridge/loglines.proto", package="batchbridge")
    line = file.message_type.add(name="LogLine")
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    for number, name in enumerate(("timestamp", "line"), 1):
        line.field.add(
            name=name, number=number, type=FieldDescriptorProto.TYPE_BYTES, label=optional
        )
    file.message_type.add(name="LogResponse").field.add(
        name="log",
        number=1,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".batchbridge.LogLine",
        label=FieldDescriptorProto.LABEL_REPEATED,
    )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("batchbridge.LogResponse"))


_Reply = _reply_class()


def parse_reply(data: bytes) -> LogReply:
    """The lines of an answer."""
    return tuple(
        LogLine(line.timestamp.decode("ascii", "replace"), line.line)
        for line in _Reply.FromString(data).log
    )
