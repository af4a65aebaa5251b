"""The IDX format of MNIST and Fashion-MNIST, plain or gzipped.

Layout (LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "the IDX file format"), big-endian:

    bytes 0, 1   0 0
    byte  2      type: 08 uint8, 09 int8, 0B int16, 0C int32, 0D float32, 0E float64
    byte  3      n, the number of dimensions
    4 n bytes    the dimensions, unsigned 32-bit
    the rest     the elements, last dimension fastest
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import DataError

__all__ = ["LARGEST_FILE", "parse_idx", "read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DIMENSIONS = 8
LARGEST_FILE = 2**30
"""In bytes, unpacked; EMNIST's largest file has half of that."""
_AGAIN = "the file is damaged or not IDX: download it again"


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in an IDX file, plain or gzipped. A DataError names the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=str(error)) from error
    return parse_idx(data, what=str(path))


def parse_idx(data: bytes, *, what: str = "IDX data") -> npt.NDArray[Any]:
    """The array in IDX bytes, plain or gzipped: writable, of native byte order, of 1 to 8 dimensions.

    Args:
        data: a whole file.
        what: what to call it in errors.

    Raises:
        DataError: not gzip where it says so, wrong magic number, dimensions that do not fit, truncated or too long.
    """
    if data.startswith(_GZIP_MAGIC):
        data = _gunzip(data, what)
    if len(data) > LARGEST_FILE:
        raise DataError(f"{what}: too large", expected=f"{LARGEST_FILE:,} bytes at most", got="more", fix=_AGAIN)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise DataError(
            f"{what}: wrong magic number",
            expected="00 00, a type of 08, 09, 0B, 0C, 0D or 0E, and a number of dimensions",
            got=data[:4].hex(" ").upper() or "an empty file",
            fix=_AGAIN,
        )
    count = data[3]
    if not 1 <= count <= _MAX_DIMENSIONS:
        raise DataError(
            f"{what}: wrong number of dimensions", expected=f"1 to {_MAX_DIMENSIONS}", got=str(count), fix=_AGAIN
        )
    start = 4 + 4 * count
    if len(data) < start:
        raise DataError(f"{what}: truncated header", expected=f"{start} bytes", got=f"{len(data)} bytes", fix=_AGAIN)
    shape = struct.unpack(f">{count}I", data[4:start])
    dtype = np.dtype(_TYPES[data[2]])
    size = start + math.prod(shape) * dtype.itemsize
    if 0 in shape or len(data) != size:
        problem = "an empty dimension" if 0 in shape else "truncated" if len(data) < size else "trailing bytes"
        raise DataError(
            f"{what}: {problem}",
            expected=f"{size} bytes for {dtype.newbyteorder('=')} {list(shape)}, none of them 0",
            got=f"{len(data)} bytes",
            fix=_AGAIN,
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _gunzip(data: bytes, what: str) -> bytes:
    """At most `LARGEST_FILE` + 1 bytes of what is packed: a few kilobytes may unpack to gigabytes."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:  # BadGzipFile is an OSError
        raise DataError(f"{what}: not a whole gzip file", expected="gzip data", got=str(error), fix=_AGAIN) from error
