"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import BundleError

__all__ = ["hash_file"]

_CHUNK_BYTES = 1 << 20


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 lower-case hex digits.

    Raises:
        BundleError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error.strerror or str(error)) from None
    return digest.hexdigest()
