"""A file that is there whole or not at all, whatever is killed or loses power meanwhile.

Rule: written beside its place under one fixed name, synced, moved there in one rename, then the folder is synced. What
a killed process left under that name is overwritten by the next one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file at `path`; its folder is made where it is missing.

    A link, a pipe or a device (/dev/stdout) is written to as it is: a rename would put a file in its place.

    Raises:
        OSError: it cannot be written; a file that was there still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # Windows opens no folders, some file systems do not sync them
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
