"""Arrays of an .npz file that anybody may have written: none is unpickled, none is larger than the file can hold.

Rule: members are stored or deflated, as NumPy writes them, and lie in the file side by side. Deflate packs by 1032 at
most (zlib.net/zlib_tech.html, "Maximum Compression Factor"), so before any array is read, of all that are wanted

    sum packed <= the file's size      unpacked <= 1032 packed      unpacked = .npy header + what that header claims

A file of zeros deflates so far, pictures and logits never: more than `SMALL_BYTES` come of 32 times as many packed
bytes at most, and never more than the reader's own limit.

    sum unpacked <= min(most, max(SMALL_BYTES, 32 sum packed))
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import DataError
from ..shapes import Shaped

__all__ = ["SMALL_BYTES", "read_arrays"]

SMALL_BYTES = 2**28
"""What any file may unpack to."""

_MOST_DEFLATED = 1032
_MOST_USUAL = 32
_METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _MOST_DEFLATED}


def read_arrays(
    path: Path, wanted: Collection[str], *, most: int, stored: bytes | None = None
) -> tuple[dict[str, Shaped[NDArray[Any], " ..."]], tuple[str, ...]]:
    """Read arrays by name.

    Args:
        path: an .npz file.
        wanted: names; what else lies in the file is not touched.
        most: bytes that the wanted arrays may take together.
        stored: the file's bytes where they were read, and checked, before; then it is not opened.

    Returns:
        Those of the wanted arrays that are there, and the names of all.

    Raises:
        OSError: the file cannot be opened.
        DataError: it is no .npz, damaged, encrypted, holds Python objects, or breaks the module's rule.
    """
    with path.open("rb") if stored is None else io.BytesIO(stored) as file:
        try:
            with zipfile.ZipFile(file) as content:
                members = {member.filename.removesuffix(".npy"): member for member in content.infolist()}
                names = [member.filename.removesuffix(".npy") for member in content.infolist()]
                if twice := next((name for name in wanted if names.count(name) > 1), None):
                    raise ValueError(f"{twice} lies in it {names.count(twice)} times")
                chosen = {name: members[name] for name in wanted if name in members}
                packed = sum(member.compress_size for member in chosen.values())
                if packed > (size := file.seek(0, os.SEEK_END)):
                    raise ValueError(f"arrays of {packed} packed bytes in a file of {size}")
                for member in chosen.values():
                    _check(content, member)
                unpacked = sum(member.file_size for member in chosen.values())
                if unpacked > (limit := min(most, max(SMALL_BYTES, _MOST_USUAL * packed))):
                    raise ValueError(f"arrays of {unpacked} bytes, packed into {packed}: at most {limit} are read")
                return {name: _read(content, member) for name, member in chosen.items()}, tuple(members)
        except Exception as error:  # what damage makes zipfile, zlib and NumPy raise is no closed list
            lines = str(error).splitlines()
            raise DataError(
                f"{path} cannot be read",
                expected="an .npz file of plain arrays, no Python objects",
                got=f"{type(error).__name__}{': ' + lines[0] if lines else ''}",
                fix="write it again: numpy.savez_compressed(path, name=array, ...)",
            ) from error


def _check(content: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse a member that breaks the module's rule."""
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename}: compression method {member.compress_type} is not one of NumPy's")
    if member.file_size > _METHODS[member.compress_type] * member.compress_size:
        raise ValueError(f"{member.filename}: {member.file_size} bytes cannot come of {member.compress_size}")
    with content.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename}: .npy of version {version}")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        held = member.file_size - stream.tell()
    claimed = math.prod(shape) * max(dtype.itemsize, 1)
    if not dtype.hasobject and claimed != held:  # objects are pickled, of any length, and refused when they are read
        raise ValueError(f"{member.filename}: {dtype} {list(shape)} takes {claimed} bytes, the file holds {held}")


def _read(content: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with content.open(member) as stream:
        array: NDArray[Any] = np.asarray(npy.read_array(stream, allow_pickle=False))
    return array
