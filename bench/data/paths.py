"""`~` and `~user` at the beginning of a path."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import DataError

__all__ = ["expand"]


def expand(path: Path) -> Path:
    """`path` with the home folder written out; a DataError where that folder is not known."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise DataError(
            f"{path}: no such home folder",
            expected="~ or ~user for a user of this system",
            fix="write the whole path, or ./~... for a file whose name begins so",
        ) from None
