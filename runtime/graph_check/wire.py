"""Protobuf's wire format: the fields of a message as places in the bytes, nothing copied.

A message is a row of fields, each a tag and a value (https://protobuf.dev/programming-guides/encoding/):

    tag = number << 3 | kind       kind 0: varint, 1: 8 bytes, 2: length and bytes, 5: 4 bytes

Every byte of a message is passed once, and a field that holds a message is opened only by who asks for it. So time is
linear in the file for a format of fixed depth, and nothing recurses. Kinds 3 and 4 (groups) are in no ONNX file.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np

__all__ = ["Field", "Wire", "WireError", "signed"]

Field = tuple[int, int, int]
"""Tag, then start and end of the value; of a varint its value, unsigned, and 0."""


class WireError(ValueError):
    """The bytes are no protobuf message, or more of one than is read."""


class Wire:
    """Bytes with a limit on how many fields are read of them.

    Args:
        data: the whole file.
        most: fields, over all messages that are opened.
    """

    __slots__ = ("_left", "data")

    def __init__(self, data: bytes, *, most: int) -> None:
        self.data = data
        self._left = most

    def fields(self, at: int, end: int) -> list[Field]:  # noqa: PLR0912 - one loop, since calls would double its time
        """The fields of the message between two places.

        Raises:
            WireError: no message, or too many fields.
        """
        data = self.data
        found: list[Field] = []
        append = found.append
        try:
            for _ in repeat(None, self._left + 1):
                if at >= end:
                    break
                tag = data[at]
                at += 1
                if tag > 0x7F:
                    tag, at = _varint(data, at - 1)
                    if tag >= 2**32:
                        raise WireError(f"a tag of more than 32 bits at byte {at}")
                kind = tag & 7
                if kind == 2:
                    size = data[at]
                    at += 1
                    if size > 0x7F:
                        size, at = _varint(data, at - 1)
                    append((tag, at, at + size))
                    at += size
                elif kind == 0:
                    value = data[at]
                    at += 1
                    if value > 0x7F:
                        value, at = _varint(data, at - 1)
                    append((tag, value, 0))
                elif kind in (1, 5):
                    size = 8 if kind == 1 else 4
                    append((tag, at, at + size))
                    at += size
                else:
                    raise WireError(f"a field of kind {kind} at byte {at}")
            else:
                raise WireError("too many fields")
        except IndexError:
            raise WireError("cut off") from None
        if at != end:
            raise WireError("cut off")
        self._left -= len(found)
        return found

    def varints(self, start: int, end: int) -> list[int]:
        """The unsigned values of packed varints; they count as fields.

        Raises:
            WireError: cut off, or too many.
        """
        if self.count_varints(start, end) > self._left:
            raise WireError("too many fields")
        found, at = [], start
        while at < end:
            value, at = _varint(self.data, at)
            found.append(value)
        self._left -= len(found)
        return found

    def count_varints(self, start: int, end: int) -> int:
        """How many packed varints there are: as many as bytes without the continuation bit.

        Raises:
            WireError: the last one is cut off.
        """
        if start < end and self.data[end - 1] > 0x7F:
            raise WireError("cut off")
        return (
            int(np.count_nonzero(np.frombuffer(self.data, np.uint8, end - start, start) < 0x80)) if end > start else 0
        )


def signed(value: int, bits: int = 64) -> int:
    """An unsigned varint as protobuf's int32 or int64: the low bits, in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise WireError(f"a number of more than 64 bits at byte {at}")
