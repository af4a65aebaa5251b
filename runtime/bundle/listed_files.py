"""The files of a bundle's folder against the manifest's records of them.

Rule: a listed file counts if it is a regular file inside the folder with the recorded size and SHA-256. Its bytes are
read once, no more of them than are recorded, and those that were hashed are those that are given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import IntegrityError
from ..files.read_once import MOST_BYTES, hash_stream, open_regular
from .manifest import MANIFEST_NAME, FileEntry

__all__ = ["check_file", "read_file", "refuse_escape", "refuse_unlisted", "require_file", "unlisted_files"]

_T = TypeVar("_T")


def require_file(folder: Path, entry: FileEntry) -> Path:
    """Where a listed file lies.

    Raises:
        IntegrityError: nothing lies there, or something that is no regular file, or a link that leads out of `folder`.
    """
    path = folder / entry.path
    try:
        refuse_escape(folder, entry.path)
        if path.is_file():
            return path
        got = "something that is no regular file" if path.exists() else "nothing"
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read", got=error.strerror or str(error)) from None
    raise IntegrityError(f"{path}: a file of the bundle is missing", expected="a file", got=got)


def read_file(folder: Path, entry: FileEntry) -> bytes:
    """The bytes of a listed file, read once; these very bytes have the recorded size and SHA-256.

    Raises:
        IntegrityError: as `require_file`, or it differs from its record, or is larger than 2 GiB.
    """
    return _checked(folder, entry, _content)


def check_file(folder: Path, entry: FileEntry) -> None:
    """Hash a listed file, of any size, in little memory.

    Raises:
        IntegrityError: as `require_file`, or it differs from its record.
    """
    _checked(folder, entry, _sha256)


def refuse_escape(folder: Path, relative: str) -> None:
    """An IntegrityError where a path in `folder` leads out of it."""
    path = folder / relative
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(folder)):
        raise IntegrityError(
            f"{path}: leads out of the bundle", expected=f"a file in {folder}", got=f"a link to {real}"
        )


def refuse_unlisted(folder: Path, listed: Collection[str]) -> None:
    """An IntegrityError where something lies in `folder` that is neither its manifest nor `listed`."""
    for relative in unlisted_files(folder, listed, onerror=_unreadable):
        raise IntegrityError(
            f"{folder / relative}: not listed in {MANIFEST_NAME}",
            expected="only listed files",
            fix="move it out of the bundle",
        )


def unlisted_files(
    folder: Path, listed: Collection[str], *, onerror: Callable[[OSError], object] | None = None
) -> Iterator[str]:
    """The files in a bundle's folder that are neither its manifest nor `listed`, as paths relative to the folder.

    Args:
        folder: the bundle's.
        listed: relative paths with "/" between their parts.
        onerror: called with the error where a folder cannot be read; None passes over it.
    """
    for parent, folders, files in os.walk(folder, onerror=onerror):
        # os.walk lists a link to a folder among the folders and does not follow it: it counts as a file.
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted(files + links):
            relative = (Path(parent) / name).relative_to(folder).as_posix()
            if relative not in listed and relative != MANIFEST_NAME:
                yield relative


def _checked(folder: Path, entry: FileEntry, read: Callable[[BinaryIO, int], tuple[str, _T]]) -> _T:
    """What `read` makes of a file's first bytes, as many as are recorded, if their SHA-256 is the recorded one too."""
    path = require_file(folder, entry)
    fix = "fetch or build the bundle again"
    try:
        with open_regular(path) as (file, size):
            if size != entry.bytes:
                expected, got = f"{entry.bytes} bytes", f"{size} bytes"
                raise IntegrityError(f"{path}: size differs", expected=expected, got=got, fix=fix)
            digest, found = read(file, size)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read", got=error.strerror or str(error)) from None
    if digest != entry.sha256:
        raise IntegrityError(f"{path}: SHA-256 differs", expected=entry.sha256, got=digest, fix=fix)
    return found


def _content(file: BinaryIO, size: int) -> tuple[str, bytes]:
    if size > MOST_BYTES:
        raise OSError(f"{size} bytes are more than the {MOST_BYTES} that are read into memory")
    content = file.read(size)
    return hashlib.sha256(content).hexdigest(), content


def _sha256(file: BinaryIO, size: int) -> tuple[str, None]:
    return hash_stream(file, most=size), None


def _unreadable(error: OSError) -> None:
    raise IntegrityError(f"{error.filename}: cannot be read", got=error.strerror or str(error))
