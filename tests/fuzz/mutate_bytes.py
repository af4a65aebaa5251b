"""Mutations of bytes that know nothing of a format."""

from __future__ import annotations

import struct
from random import Random

__all__ = ["ODD_INTEGERS", "mutate_bytes", "mutate_text"]

ODD_INTEGERS = (0, 1, -1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**40)
ODD_INTEGERS += (2**62, 2**63 - 1, -(2**31), -(2**63))
"""Where sizes, signs and products go wrong."""

_ODD_TEXT = ("", "\0", "\x1b[2J", "\x1b]0;x\x07", "\r", "\u202e", "../../etc/passwd", "/dev/zero", "é" * 5, "a" * 5000)


def mutate_bytes(random: Random, data: bytes, *, most: int = 3) -> bytes:
    """`data` after one to `most` mutations."""
    for _ in range(random.randint(1, most)):
        data = random.choice(_MUTATIONS)(random, data)
    return data


def mutate_text(random: Random, text: str) -> str:
    """A line doubled, removed or moved, or a word of it replaced by an odd one."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at] = " ".join(random.choice((*_ODD_TEXT, word)) for word in lines[at].split(" "))
        case 3:
            lines[at] += random.choice((*_ODD_TEXT, str(random.choice(ODD_INTEGERS)), "[" * 400, "{" * 400, "'''"))
        case _:
            start = random.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:start] + random.choice(_ODD_TEXT) + lines[at][start + random.randrange(4) :]
    return "\n".join(lines)


def _range(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 32, len(data))))


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _delete(random: Random, data: bytes) -> bytes:
    start, end = _range(random, data)
    return data[:start] + data[end:]


def _double(random: Random, data: bytes) -> bytes:
    start, end = _range(random, data)
    return data[:end] + data[start:end] + data[end:]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    new = random.choice((bytes(random.choice((1, 4, 64))), random.randbytes(8), b"\xff" * 4))
    return data[:at] + new + data[at:]


def _number(random: Random, data: bytes) -> bytes:
    """An odd integer over what is there."""
    at, value = random.randrange(len(data) + 1), random.choice(ODD_INTEGERS)
    kind = random.choice("HIQ")
    width = struct.calcsize(kind)
    new = struct.pack(random.choice("<>") + kind, value % 2 ** (8 * width))
    return data[:at] + new + data[at + width :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


_MUTATIONS = (_flip, _flip, _flip, _delete, _double, _insert, _number, _number, _cut)
