"""Protocol buffers on the wire: the fields of one message. It knows nothing of what they mean.

https://protobuf.dev/programming-guides/encoding: a field is a varint (number * 8 + kind), then its value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Value = int | bytes
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class ProtobufError(ValueError):
    """The bytes are no message."""


def read_fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field: int of a varint, bytes of everything else. Raises ProtobufError."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ProtobufError(f"field 0 at byte {position}")
        value: Value
        if kind == VARINT:
            value, position = _varint(data, position)
        elif kind in (FIXED64, FIXED32, BYTES):
            size, position = (8 if kind == FIXED64 else 4, position) if kind != BYTES else _varint(data, position)
            value, position = data[position : position + size], position + size
            if position > len(data):
                raise ProtobufError(f"field {number} reaches to byte {position}; there are {len(data)}")
        else:
            raise ProtobufError(f"field {number} is of kind {kind}, which does not exist any more")
        yield number, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that starts at `position`, seven bits a byte, and where it ends."""
    value = 0
    for index in range(position, min(position + 10, len(data))):
        value |= (data[index] & 0x7F) << (7 * (index - position))
        if data[index] < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
    raise ProtobufError(f"the number at byte {position} does not end")


def number(value: Value) -> int:
    """A signed 32-bit integer, an enumeration or a truth value."""
    if not isinstance(value, int):
        raise ProtobufError("bytes where a number should be")
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def single(value: Value) -> float:
    """A 32-bit float."""
    if not isinstance(value, bytes) or len(value) != 4:
        raise ProtobufError("no float where one should be")
    return float(struct.unpack("<f", value)[0])


def binary(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError("a number where bytes should be")
    return value


def text(value: Value) -> str:
    try:
        return binary(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtobufError(f"text that is no UTF-8: {binary(value)[:40]!r}") from error
