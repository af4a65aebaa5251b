"""An ONNX file whose weights are stored sparse and Huffman-coded, unpacked to the very same bytes.

Rule: the file is cut at its tensors of bytes. What lies between them, the skeleton, is one block; each tensor is two:

    mask      one bit a weight, 1 where it is not 0, the first weight in the highest bit; absent where nothing is 0
    values    the weights that are not 0, in order; without a mask, all of them. Of 2^b different ones, with b of 1, 2
              or 4: their codebook of 2^b bytes, then an index of b bits a weight, the first in the highest bits

A block is stored or deflated. Deflate's Huffman stage is that of deep compression (Han et al. 2016, arXiv:1510.00149,
section 4): of a codebook's few values it stores the code lengths, and each weight in a prefix code. So unpacking is
inflating and splicing, needs no protobuf, and no loop over weights. All numbers are unsigned and little-endian:

    magic 8, SHA-256 of the ONNX file 32, its length 8, tensors 4, skeleton BLOCK
    then for each tensor: skeleton bytes in front of it 4, its bytes 4, b 1 (8: no codebook), mask BLOCK, values BLOCK
    then the content of every block in that order        BLOCK: coding 1 (0 absent, 1 stored, 2 deflated), bytes 4

Anybody may have written the file: every length is checked against the others before memory is asked for, and as for
archives (`npz.py`) a file gives `SMALL_BYTES`, or 32 times its own bytes, at most. The bytes that come out have the
SHA-256 of the header, or there is an error.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleFormatError, IntegrityError
from .npz import SMALL_BYTES
from .read_once import MOST_BYTES

__all__ = [
    "ABSENT",
    "DEFLATED",
    "HEADER",
    "INDEX_BITS",
    "MAGIC",
    "ROW",
    "STORED",
    "is_packed",
    "most_unpacked",
    "unpack_graph",
]

MAGIC = b"HDTPACK\x01"
"""The first bytes of a packed file, which no ONNX file has; the last of them is the layout's version."""

HEADER = struct.Struct("<8s32sQIBI")
"""Magic, SHA-256, length, tensors, the skeleton's coding and bytes."""

ROW = struct.Struct("<IIBBIBI")
"""Of a tensor: the skeleton's bytes in front of it, its own, bits, coding and bytes of its mask and of its values."""

INDEX_BITS = (1, 2, 4)
"""Bits of an index into a codebook, whole indices in a byte."""

ABSENT, STORED, DEFLATED = range(3)
"""How a block is coded."""

_MOST_RATIO = 32
_RAW = -15  # zlib's code for deflate without an envelope


def is_packed(content: bytes) -> bool:
    """Whether these are the bytes of a packed file."""
    return content.startswith(MAGIC)


def most_unpacked(packed: int) -> int:
    """The most bytes that a packed file of `packed` bytes may hold."""
    return min(MOST_BYTES, max(SMALL_BYTES, _MOST_RATIO * packed))


def unpack_graph(content: bytes, path: Path) -> bytes:
    """The ONNX file that was packed, byte for byte.

    Args:
        content: a packed file's bytes.
        path: where they lay; errors name it.

    Raises:
        BundleFormatError: no packed file, a length that does not fit the others, or one beyond the limits.
        IntegrityError: what comes out has another SHA-256 than the file says.
    """
    try:
        whole, digest = _unpack(memoryview(content))
    except (_BadPackError, zlib.error) as error:
        got = f"damaged bytes ({error})" if isinstance(error, zlib.error) else str(error)
        fix = "fetch or build the bundle again"
        raise BundleFormatError(f"{path}: cannot be unpacked", expected="a packed graph", got=got, fix=fix) from None
    found = hashlib.sha256(whole).digest()
    if found != digest:
        what = f"{path}: SHA-256 of the unpacked graph differs"
        raise IntegrityError(what, expected=digest.hex(), got=found.hex(), fix="fetch or build the bundle again")
    return whole


class _BadPackError(ValueError):
    """The bytes break the layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """A block's content, `None` where it is absent."""

    coding: int
    content: memoryview

    def read(self, size: int) -> bytes | memoryview:
        """Its `size` bytes."""
        if self.coding == STORED:
            if len(self.content) != size:
                raise _BadPackError(f"a block of {len(self.content)} bytes in place of {size}")
            return self.content
        inflater = zlib.decompressobj(_RAW)
        found = inflater.decompress(self.content, size + 1)  # one more would show a bomb; 0 would mean no limit
        if len(found) != size or not inflater.eof or inflater.unused_data:
            raise _BadPackError(f"a block that does not inflate to {size} bytes")
        return found


def _unpack(content: memoryview) -> tuple[bytes, bytes]:
    """The whole file, and the SHA-256 that it should have."""
    if len(content) < HEADER.size:
        raise _BadPackError("a file that is cut off")
    magic, digest, length, count, coding, stored = HEADER.unpack_from(content)
    end = HEADER.size + count * ROW.size
    if magic != MAGIC or end > len(content):
        raise _BadPackError(f"{count} tensors in a file of {len(content)} bytes")
    if length > (limit := most_unpacked(len(content))):
        raise _BadPackError(f"{length} bytes, packed into {len(content)}: at most {limit} are unpacked")
    rows = list(ROW.iter_unpack(content[HEADER.size : end]))
    weights = sum(row[1] for row in rows)
    in_front = sum(row[0] for row in rows)
    if weights + in_front > length:
        raise _BadPackError(f"tensors of {weights} bytes in a graph of {length}")
    sizes = [stored, *(size for row in rows for size in (row[4], row[6]))]
    if end + sum(sizes) != len(content):
        raise _BadPackError(f"blocks of {sum(sizes)} bytes in {len(content) - end}")
    codings = [coding, *(code for row in rows for code in (row[3], row[5]))]
    blocks = iter(_blocks(content, end, codings, sizes))
    skeleton = memoryview(_present(next(blocks)).read(length - weights))
    parts: list[bytes | memoryview] = []
    at = 0
    for (gap, size, bits, *_), mask, values in zip(rows, blocks, blocks, strict=True):
        parts += [skeleton[at : at + gap], _weights(size, bits, mask, _present(values))]
        at += gap
    return b"".join([*parts, skeleton[at:]]), digest


def _blocks(content: memoryview, at: int, codings: list[int], sizes: list[int]) -> list[_Block | None]:
    found: list[_Block | None] = []
    for coding, size in zip(codings, sizes, strict=True):
        if coding not in (ABSENT, STORED, DEFLATED) or (coding == ABSENT and size):
            raise _BadPackError(f"a block of {size} bytes in coding {coding}")
        found.append(None if coding == ABSENT else _Block(coding=coding, content=content[at : at + size]))
        at += size
    return found


def _present(block: _Block | None) -> _Block:
    if block is None:
        raise _BadPackError("a block that is absent")
    return block


def _weights(size: int, bits: int, mask: _Block | None, values: _Block) -> bytes | memoryview:
    """The `size` bytes of a tensor."""
    if mask is None:
        return _values(size, bits, values)
    ones = np.frombuffer(mask.read((size + 7) // 8), np.uint8)
    where = np.unpackbits(ones, count=size).view(np.bool_)
    found = np.zeros(size, np.uint8)
    found[where] = np.frombuffer(_values(int(np.count_nonzero(where)), bits, values), np.uint8)
    return found.data


def _values(count: int, bits: int, block: _Block) -> bytes | memoryview:
    if bits == 8:
        return block.read(count)
    if bits not in INDEX_BITS:
        raise _BadPackError(f"indices of {bits} bits")
    each = 8 // bits
    content = np.frombuffer(block.read(2**bits + (count + each - 1) // each), np.uint8)
    book, packed = content[: 2**bits], content[2**bits :]
    places = np.arange(256)[:, None] >> np.arange(8 - bits, -1, -bits) & 2**bits - 1
    return bytes(book[places][packed].reshape(-1)[:count])  # of each byte the values that it stands for
