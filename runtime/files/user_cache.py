"""This user's cache: folders whose files are believed because nobody else can write to them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BundleError, IntegrityError

__all__ = ["cache_folder", "check_private"]

_OTHERS_MAY_WRITE = 0o022


def cache_folder(name: str) -> Path:
    """The folder `name` of the cache: $XDG_CACHE_HOME/hardtemper/NAME, ~/.cache where the variable is not set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "hardtemper" / name


def check_private(folder: Path, *, what: str, fix: str) -> None:
    """Refuse a folder that somebody else can write to.

    Args:
        folder: it exists.
        what: what lies in it, for the error.
        fix: what the user can do.

    Raises:
        BundleError: it cannot be read.
        IntegrityError: it is not this user's alone.
    """
    if os.name == "nt":
        return  # the profile folder's access list guards it
    try:
        status = folder.stat()
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read", got=error.strerror or str(error)) from None
    if status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY_WRITE:
        raise IntegrityError(
            f"{folder}: {what} in it are not trusted",
            expected="a folder that this user alone can write to",
            got=f"owner {status.st_uid}, mode {status.st_mode & 0o777:o}",
            fix=fix,
        )
