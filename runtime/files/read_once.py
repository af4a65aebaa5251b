"""A regular file's bytes, from one reading of one open file: what was checked is what is used.

Rule: the file that is open decides (`fstat`), not the name, which may lead to another file a moment later. A pipe or a
device would block or never end: only regular files are read, and of them no more than the caller says.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["MOST_BYTES", "hash_stream", "open_regular", "read_regular"]

MOST_BYTES = 2**31 - 1
"""The most that is read into memory: what one protobuf message, and so one ONNX file, can hold."""

_CHUNK_BYTES = 1 << 20


@contextmanager
def open_regular(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, open for reading, and its size in bytes.

    Raises:
        OSError: it cannot be opened or read, or is a folder, a pipe, a device.
        ValueError: no system can hold that name.
    """
    with open(path, "rb", opener=_without_waiting) as file:  # Path.open takes no opener
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path}: no regular file")
        yield file, status.st_size


def read_regular(path: str | Path, *, most: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`, or the file is larger than `most` bytes.
        ValueError: no system can hold that name.
    """
    with open_regular(path) as (file, size):
        if size > most:
            raise OSError(f"{size} bytes are more than the {most} that are read")
        return file.read(size)  # read(most) would ask for that much memory first


def hash_stream(file: BinaryIO, *, most: int) -> str:
    """SHA-256 of the next `most` bytes, or of those that there are, as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    while most and (chunk := file.read(min(most, _CHUNK_BYTES))):
        digest.update(chunk)
        most -= len(chunk)
    return digest.hexdigest()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would block
