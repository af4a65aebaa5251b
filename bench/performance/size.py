"""What a graph weighs, as it is stored: bytes on disk, and over the wire (gzip, level 9)."""

from __future__ import annotations

import zlib

from ...runtime.files.onnx_file import OnnxFile
from ..measurement import Measurement, measured

__all__ = ["measure_size"]

_GZIP = 31  # zlib's code for the largest window in a gzip envelope


def measure_size(graph: OnnxFile) -> tuple[Measurement, Measurement]:
    """Size and gzipped size of a graph with its weights, in bytes; of a packed graph those of the packed file."""
    files = graph.stored
    plain = sum(len(file) for file in files)
    packed = sum(_gzip_bytes(file) for file in files)
    return (
        measured("size", plain, n=len(files)),
        measured("size-gzip", packed, n=len(files), settings={"level": 9}),
    )


def _gzip_bytes(content: bytes) -> int:
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return len(packer.compress(content)) + len(packer.flush())
