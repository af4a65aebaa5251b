"""Packs an ONNX file: the writer of `runtime/files/packed_graph.py`, whose layout and rule stand there.

A block is stored in the smallest of four ways: as it is, and deflated with zlib's three strategies: default, Huffman
codes alone (`Z_HUFFMAN_ONLY`, the Huffman stage of deep compression), and Huffman codes with runs of one byte
(`Z_RLE`). A tensor gets a mask, and a codebook with indices, where that is smaller: a Huffman code takes one bit a
symbol at least, so several indices in one symbol come nearer to the entropy where that is low.
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import numpy.typing as npt

from ..runtime.files.packed_graph import ABSENT, DEFLATED, HEADER, INDEX_BITS, MAGIC, ROW, STORED, most_unpacked
from ..runtime.graph_check.limits import MOST_FIELDS
from ..runtime.graph_check.wire import Field, Wire

__all__ = ["pack_graph"]

_GRAPH, _INITIALIZER, _RAW_DATA = (number << 3 | 2 for number in (7, 5, 9))
_DATA_TYPE = 2 << 3
"""Tags of ModelProto.graph, GraphProto.initializer, TensorProto.raw_data and TensorProto.data_type (onnx.proto3)."""

_BYTES = frozenset({2, 3, 21, 22})
"""TensorProto's UINT8, INT8, UINT4 and INT4, two of which lie in a byte."""

_LEAST_BYTES = 128
"""Of a tensor that is taken out of the skeleton: of fewer, the codes' lengths weigh more than they save."""

_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)

_Block = tuple[int, bytes]
"""Coding and content."""


def pack_graph(content: bytes) -> bytes:
    """A packed file of an ONNX file's bytes. What cannot be made smaller, or was packed too far, comes as it is.

    Args:
        content: a serialized ModelProto; weights of its initializers in `raw_data`.

    Returns:
        Bytes that `unpack_graph` turns into `content` again; `content` itself where packing gains nothing, or so much
        (32 times, above 256 MiB) that a reader would take the file for a bomb.

    Raises:
        WireError: no protobuf message.
    """
    spans = _tensors(content)
    rows: list[bytes] = []
    blocks: list[bytes] = []
    skeleton: list[bytes] = []
    at = 0
    for start, end in spans:
        mask, bits, values = _packed_tensor(content[start:end])
        rows.append(ROW.pack(start - at, end - start, bits, mask[0], len(mask[1]), values[0], len(values[1])))
        blocks += mask[1], values[1]
        skeleton.append(content[at:start])
        at = end
    coding, stored = _smallest(b"".join([*skeleton, content[at:]]))
    digest = hashlib.sha256(content).digest()
    header = HEADER.pack(MAGIC, digest, len(content), len(spans), coding, len(stored))
    packed = b"".join([header, *rows, stored, *blocks])
    return packed if len(packed) < len(content) <= most_unpacked(len(packed)) else content


def _tensors(content: bytes) -> list[tuple[int, int]]:
    """Start and end of the raw data of every initializer of bytes, in order."""
    wire, found = Wire(content, most=MOST_FIELDS), []
    for graph in _of(wire.fields(0, len(content)), _GRAPH):
        for _, start, end in _of(wire.fields(*graph[1:]), _INITIALIZER):
            fields = wire.fields(start, end)
            if any(value in _BYTES for _, value, _ in _of(fields, _DATA_TYPE)):
                found += [(at, to) for _, at, to in _of(fields, _RAW_DATA) if to - at >= _LEAST_BYTES]
    return found


def _of(fields: list[Field], tag: int) -> list[Field]:
    return [field for field in fields if field[0] == tag]


def _packed_tensor(weights: bytes) -> tuple[_Block, int, _Block]:
    """Mask, bits and values; without a mask where that is smaller."""
    array = np.frombuffer(weights, np.uint8)
    plain_bits, plain = _packed_values(array)
    where = array != 0
    if where.all():
        return (ABSENT, b""), plain_bits, plain
    mask, (bits, values) = _smallest(np.packbits(where).tobytes()), _packed_values(array[where])
    if len(mask[1]) + len(values[1]) < len(plain[1]):
        return mask, bits, values
    return (ABSENT, b""), plain_bits, plain


def _packed_values(values: npt.NDArray[np.uint8]) -> tuple[int, _Block]:
    """Bits and content, with a codebook where that is smaller."""
    plain = _smallest(values.tobytes())
    book = np.flatnonzero(np.bincount(values, minlength=256)).astype(np.uint8)
    bits = next((bits for bits in INDEX_BITS if len(book) <= 2**bits), 8)
    if bits == 8:
        return 8, plain
    index, each = np.zeros(256, np.uint8), 8 // bits
    index[book] = np.arange(len(book))
    places = np.zeros((-(-len(values) // each), each), np.uint8)
    places.reshape(-1)[: len(values)] = index[values]
    packed = (places << np.arange(8 - bits, -1, -bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    coded = _smallest(np.pad(book, (0, 2**bits - len(book))).tobytes() + packed.tobytes())
    return (bits, coded) if len(coded[1]) < len(plain[1]) else (8, plain)


def _smallest(content: bytes) -> _Block:
    ways = [(STORED, content), *((DEFLATED, _deflated(content, strategy)) for strategy in _STRATEGIES)]
    return min(ways, key=lambda block: len(block[1]))


def _deflated(content: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL + 1, strategy)
    return packer.compress(content) + packer.flush()
