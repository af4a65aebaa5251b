"""What a graph weighs: bytes on disk, bytes over the wire (gzip, level 9), and weights."""

from __future__ import annotations

import zlib
from pathlib import Path

from ..graph_digest import graph_files
from ..measurement import Measurement, measured

__all__ = ["measure_size"]

_CHUNK_BYTES = 1 << 20
_GZIP = 31  # zlib's code for the largest window in a gzip envelope


def measure_size(graph: Path) -> tuple[Measurement, Measurement]:
    """Size and gzipped size of a graph with its weights, in bytes."""
    files = graph_files(graph)
    plain = sum(file.stat().st_size for file in files)
    packed = sum(_gzip_bytes(file) for file in files)
    return (
        measured("size", plain, n=len(files)),
        measured("size-gzip", packed, n=len(files), settings={"level": 9}),
    )


def _gzip_bytes(path: Path) -> int:
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    total = 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())
