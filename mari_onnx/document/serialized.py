"""Models as bytes, piece by piece, so that a model of nearly 2 GB is never held as bytes beside itself.

protobuf writes a whole message into one buffer and copies that, which takes twice the memory of the model on top of it.
The pieces together are the bytes that it would write: fields come in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

_DELIMITED = 2
"""The wire type of a field whose length stands before it."""


_SMALL = 2**16
"""Bytes of data up to which a tensor is one piece."""


def pieces(model: onnx.ModelProto) -> Iterator[bytes]:
    """The bytes of `model.SerializeToString()`; the largest piece is the data of one tensor."""
    yield from _pieces(model, ("graph", "initializer", "raw_data"))


def size(model: onnx.ModelProto) -> int:
    """The number of these bytes."""
    return sum(map(len, pieces(model)))


def _pieces(message: Message, path: tuple[str, ...]) -> Iterator[bytes]:
    """The bytes of a message, with those of its field `path[0]` in pieces of their own, by the rest of the path."""
    field, value = message.DESCRIPTOR.fields_by_name[path[0]], None
    before, after = type(message)(), type(message)()
    for descriptor, content in message.ListFields():
        if descriptor.number == field.number:
            value = content
        else:
            copy_field(descriptor.name, content, before if descriptor.number < field.number else after)
    if value is None or len(UnknownFieldSet(message)):  # these have no place in the order
        yield message.SerializeToString()
        return
    yield before.SerializeToString()
    if isinstance(value, bytes):
        yield from (_head(field.number, len(value)), value)
    elif isinstance(value, Message):
        yield _head(field.number, sum(map(len, _pieces(value, path[1:]))))
        yield from _pieces(value, path[1:])
    else:
        for each in value:
            small = len(getattr(each, path[1])) <= _SMALL
            parts = [each.SerializeToString()] if small else list(_pieces(each, path[1:]))
            yield from (_head(field.number, sum(map(len, parts))), *parts)
    yield after.SerializeToString()


def _head(number: int, length: int) -> bytes:
    """What stands before a field of so many bytes: its number and its length, seven bits a byte."""
    out = bytearray([number << 3 | _DELIMITED])
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    return bytes([*out, length])


def copy_field(name: str, content: Any, target: Message) -> None:
    """Set a field of a protobuf message, such as one of `ListFields` of another message of this kind."""
    if hasattr(content, "extend"):
        getattr(target, name).extend(content)
    elif isinstance(content, Message):
        getattr(target, name).CopyFrom(content)
    else:
        setattr(target, name, content)
