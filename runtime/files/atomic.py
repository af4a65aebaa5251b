"""A file that is there whole or not at all, whatever is killed or loses power meanwhile: the package's one writer.

Rule: written beside its place, synced, moved there in one rename, then the folder is synced. What a killed process left
under the temporary name is overwritten by the next one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["replace_file", "sync_folder", "write_synced", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write the file that a user named; its folder is made where it is missing.

    A link, a pipe or a device (/dev/stdout) is written to as it is: a rename would put a file in its place.

    Raises:
        OSError: it cannot be written; a file that was there still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
    else:
        replace_file(path, content)


def replace_file(path: Path, content: bytes, *, temporary: Path | None = None, private: bool = False) -> None:
    """Put a file at `path` in one rename; its folder exists, and a link at `path` is replaced.

    Args:
        temporary: where it is written first, on the same file system. None: ".NAME.new" beside it. Give a name of its
            own to each process where several may write one file.
        private: readable by this user alone.

    Raises:
        OSError: it cannot be written; a file that was there still is.
    """
    temporary = path.with_name(f".{path.name}.new") if temporary is None else temporary
    try:
        temporary.unlink(missing_ok=True)
        write_synced(temporary, content, private=private)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # some file systems do not sync folders
        sync_folder(path.parent)


def write_synced(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file that is not there yet, and wait until its bytes are on the disk.

    Raises:
        OSError: it cannot be written, or there is one.
    """
    if private:
        path.touch(mode=0o600, exist_ok=False)
    with path.open("wb" if private else "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable; Windows cannot open folders and does it by itself.

    Raises:
        OSError: it cannot be opened or synced.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
